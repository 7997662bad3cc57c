//! The file of endpoints: what may stand in it, and what is wrong with it, by line.
//!
//! Everything is checked that can be without sending anything, with the library's own checks, so that a file that passes is one the relay starts with. What is
//! wrong is told without quoting URLs or secrets.

use std::collections::HashSet;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use sinkworks::webhook::formats::cloud_event::CloudEvent;
use sinkworks::webhook::signature::{Secret, Signer};
use sinkworks::webhook::{AddressPolicy, Webhook, WebhookBuilder, WebhookError};
use sinkworks::{Batching, Breaker, Overflow};
use toml::Spanned;

use crate::UNUSABLE;
use crate::document::{BatchTable, Document, FilterTable, OverflowName, Scalar, Secrets, Table, TlsTable, Values};
use crate::endpoints::LETTERS;

/// What the file says, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file for what the queues drop.
    pub(crate) dead_letters: Option<PathBuf>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One endpoint, checked.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) signer: Option<Signer>,
    pub(crate) format: FormatName,
    /// The `source` and the `type` of what is no `CloudEvent` and is sent as one.
    pub(crate) source: String,
    pub(crate) kind: String,
    pub(crate) filter: Option<Filter>,
    /// How many events a request may have, if more than one.
    pub(crate) batch: Option<Batch>,
    pub(crate) required: bool,
    pub(crate) addresses: AddressPolicy,
    pub(crate) tls: Tls,
    pub(crate) timeout: Duration,
    pub(crate) capacity: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) overflow: Overflow,
    /// How often an event is tried at most, if there is a bound.
    pub(crate) attempts: Option<u32>,
    /// How long after its first failure an event is given up, if it is.
    pub(crate) give_up: Option<Duration>,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) threshold: u32,
    pub(crate) breaker_backoff: Duration,
}

/// Without the URL, which may have a secret in it.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the named files have in them, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    roots: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(crate) fn apply(&self, mut builder: WebhookBuilder) -> WebhookBuilder {
        if let Some(roots) = &self.roots {
            builder = builder.root_certificates(&roots[..]);
        }
        if let Some((chain, key)) = &self.client {
            builder = builder.client_certificate(&chain[..], &key[..]);
        }
        builder
    }
}

/// What a batch may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) events: Batching,
    pub(crate) max_bytes: u64,
}

/// Lets an event pass that has one of these values at a place.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// A JSON pointer (RFC 6901).
    pub(crate) field: String,
    pub(crate) values: Vec<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormatName {
    #[default]
    Json,
    CloudeventsStructured,
    CloudeventsBinary,
    Registry,
}

/// What is wrong, and in which line of the file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    line: usize,
    reason: String,
}

/// `relay check FILE`.
pub(crate) fn main(path: &Path) -> ExitCode {
    match Config::read(path) {
        Ok(config) => {
            println!("{}: good, endpoints={}", path.display(), config.endpoints.len());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(UNUSABLE)
        }
    }
}

impl Config {
    /// Reads and checks a file. The error is what to say, a line for each problem.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: cannot be read: {error}"))?;
        Self::parse(&text).map_err(|problems| {
            let lines = problems.iter().map(|Problem { line, reason }| format!("{file}:{line}: {reason}"));
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut check = Check { text, problems: Vec::new() };
        let document = match toml::from_str::<Document>(text) {
            Ok(document) => document,
            Err(error) => {
                check.problem(error.span().unwrap_or_default(), without_values(error.message()));
                return Err(check.problems);
            }
        };
        if document.endpoint.is_empty() {
            check.problem(0..0, "there is no endpoint: begin one with [[endpoint]]");
        }
        let is_empty = |path: &&Spanned<PathBuf>| path.get_ref().as_os_str().is_empty();
        if let Some(path) = document.dead_letters.as_ref().filter(is_empty) {
            check.problem(path.span(), "dead_letters must name a file");
        }
        let dead_letters = document.dead_letters.map(Spanned::into_inner);
        let mut names = HashSet::new();
        let endpoints = document.endpoint.into_iter().map(|table| check.endpoint(table, &mut names)).collect();
        if check.problems.is_empty() {
            return Ok(Self { dead_letters, endpoints });
        }
        check.problems.sort();
        Err(check.problems)
    }
}

/// The parser's message without a text that it quotes: that may be a secret in the wrong place.
fn without_values(message: &str) -> String {
    if message.contains("whsec_") || message.contains("://") {
        return "the value cannot be used here".to_owned();
    }
    match (message.find("string \""), message.rfind('"')) {
        (Some(start), Some(end)) => format!("{}a string{}", &message[..start], &message[end + 1..]),
        _ => message.trim().replace('\n', ", "),
    }
}

/// A day, in milliseconds: the longest time that the file may name, but for the time to give up.
const DAY: u64 = 86_400_000;

/// Gathers what is wrong.
struct Check<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, at: Range<usize>, reason: impl fmt::Display) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        self.problems.push(Problem { line, reason: reason.to_string() });
    }

    fn number(&mut self, key: &str, given: Option<&Spanned<u64>>, range: RangeInclusive<u64>) -> Option<u64> {
        let given = given?;
        if !range.contains(given.get_ref()) {
            self.problem(given.span(), format!("{key} must be from {} to {}", range.start(), range.end()));
        }
        Some(*given.get_ref())
    }

    fn duration(&mut self, key: &str, given: Option<&Spanned<u64>>, default: u64) -> Duration {
        Duration::from_millis(self.number(key, given, 1..=DAY).unwrap_or(default))
    }

    fn count(&mut self, key: &str, given: Option<&Spanned<u64>>) -> Option<u32> {
        let number = self.number(key, given, 1..=u64::from(u32::MAX))?;
        Some(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn endpoint(&mut self, table: Table, names: &mut HashSet<String>) -> Endpoint {
        let Table {
            name,
            url,
            secret,
            format,
            source,
            kind,
            filter,
            required,
            allow,
            deny,
            tls,
            timeout_ms,
            batch,
            queue,
            retry,
            breaker,
        } = table;
        // What the library takes for a name, it takes for every component's.
        if let Err(error) = Breaker::builder().name(name.get_ref()).build() {
            self.problem(name.span(), error);
        } else if name.get_ref() == LETTERS || !names.insert(name.get_ref().clone()) {
            self.problem(name.span(), "the name is taken");
        }
        let addresses = self.addresses(&allow, &deny);
        if let Err(error) = Webhook::builder(url.get_ref()).addresses(addresses.clone()).build() {
            let hint = if matches!(error, WebhookError::Address(_)) { "; allow = […] names what may be" } else { "" };
            self.problem(url.span(), format!("url: {error}{hint}"));
        }
        let tls = tls.map(|tls| self.tls(&tls)).unwrap_or_default();
        let source = self.attribute(source, "/relay", |source| CloudEvent::new("id", source, "type"));
        let kind = self.attribute(kind, "relay.event", |kind| CloudEvent::new("id", "source", kind));
        let default = if required { OverflowName::Reject } else { OverflowName::DropNewest };
        let overflow = queue.overflow.as_ref().map_or(default, |given| *given.get_ref());
        if let Some(given) = queue.overflow.as_ref().filter(|_| required && overflow != OverflowName::Reject) {
            self.problem(given.span(), "a required endpoint drops nothing: overflow must be \"reject\"");
        }
        let capacity = self.number("capacity", queue.capacity.as_ref(), 1..=10_000_000).unwrap_or(10_000);
        let capacity_bytes =
            self.number("capacity_bytes", queue.capacity_bytes.as_ref(), 1..=1 << 40).unwrap_or(64 << 20);
        let max_backoff = self.duration("max_backoff_ms", retry.max_backoff_ms.as_ref(), 60_000);
        Endpoint {
            signer: secret.and_then(|secret| self.signer(&secret)),
            filter: filter.map(|filter| self.filter(filter)),
            timeout: self.duration("timeout_ms", timeout_ms.as_ref(), 15_000),
            batch: self.batch(format, batch, capacity, capacity_bytes),
            capacity,
            capacity_bytes,
            overflow: match overflow {
                OverflowName::Reject => Overflow::Reject,
                OverflowName::DropNewest => Overflow::DropNewest,
                OverflowName::DropOldest => Overflow::DropOldest,
            },
            attempts: self.count("attempts", retry.attempts.as_ref()),
            give_up: self.number("give_up_ms", retry.give_up_ms.as_ref(), 1..=365 * DAY).map(Duration::from_millis),
            backoff: self.duration("backoff_ms", retry.backoff_ms.as_ref(), 100).min(max_backoff),
            max_backoff,
            threshold: self.count("threshold", breaker.threshold.as_ref()).unwrap_or(5),
            breaker_backoff: self.duration("backoff_ms", breaker.backoff_ms.as_ref(), 1_000),
            name: name.into_inner(),
            url: url.into_inner(),
            format,
            source,
            kind,
            required,
            addresses,
            tls,
        }
    }

    /// Registries put several events into an envelope, so who reads theirs expects that. `CloudEvents` come in batches only where somebody has asked for them.
    fn batch(
        &mut self,
        format: FormatName,
        given: Option<Spanned<BatchTable>>,
        capacity: u64,
        capacity_bytes: u64,
    ) -> Option<Batch> {
        let table = match (format, given) {
            (FormatName::Registry, None) => BatchTable::default(),
            (FormatName::Registry | FormatName::CloudeventsStructured, Some(given)) => given.into_inner(),
            (FormatName::Json | FormatName::CloudeventsBinary, Some(given)) => {
                self.problem(
                    given.span(),
                    "batch: the format has no batches; registry and cloudevents-structured have",
                );
                return None;
            }
            (_, None) => return None,
        };
        let most = usize::try_from(capacity.min(10_000)).unwrap_or(10_000);
        let events = self.number("max_events", table.max_events.as_ref(), 1..=most as u64);
        let events = events.and_then(|events| usize::try_from(events).ok()).unwrap_or(100.min(most));
        let linger = self.number("linger_ms", table.linger_ms.as_ref(), 0..=DAY).unwrap_or(0);
        let max_bytes = self.number("max_bytes", table.max_bytes.as_ref(), 1..=capacity_bytes);
        let max_bytes = max_bytes.unwrap_or(capacity_bytes.min(256 << 10));
        Some(Batch { events: Batching::new(events, Duration::from_millis(linger)), max_bytes })
    }

    fn attribute(&mut self, given: Option<Spanned<String>>, default: &str, event: fn(&str) -> CloudEvent) -> String {
        let Some(given) = given else { return default.to_owned() };
        if let Err(error) = event(given.get_ref()).validate() {
            self.problem(given.span(), error);
        }
        given.into_inner()
    }

    fn addresses(&mut self, allow: &[Spanned<String>], deny: &[Spanned<String>]) -> AddressPolicy {
        let mut policy = AddressPolicy::public_only();
        for text in allow {
            policy = match text.get_ref().as_str() {
                "loopback" => policy.allow_loopback(),
                "private" => policy.allow_private(),
                network => match network.parse() {
                    Ok(network) => policy.allow(network),
                    Err(error) => {
                        self.problem(
                            text.span(),
                            format!("allow: neither loopback, nor private, nor a network: {error}"),
                        );
                        policy
                    }
                },
            };
        }
        for text in deny {
            match text.get_ref().parse() {
                Ok(network) => policy = policy.deny(network),
                Err(error) => self.problem(text.span(), format!("deny: {error}")),
            }
        }
        policy
    }

    fn tls(&mut self, table: &Spanned<TlsTable>) -> Tls {
        let TlsTable { roots, certificate, key } = table.get_ref();
        let roots = roots.as_ref().and_then(|path| self.file("roots", path));
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => self.file("certificate", certificate).zip(self.file("key", key)),
            (None, None) => None,
            _ => {
                self.problem(table.span(), "tls: certificate and key go together");
                None
            }
        };
        let tls = Tls { roots, client };
        // What is wrong with the URL is said there.
        if let Err(error) = tls.apply(Webhook::builder("https://example.com/")).build() {
            self.problem(table.span(), format!("tls: {error}"));
        }
        tls
    }

    fn file(&mut self, key: &str, path: &Spanned<PathBuf>) -> Option<Vec<u8>> {
        let file = path.get_ref();
        match std::fs::read(file) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(path.span(), format!("tls.{key}: {} cannot be read: {error}", file.display()));
                None
            }
        }
    }

    fn signer(&mut self, secrets: &Spanned<Secrets>) -> Option<Signer> {
        let texts = match secrets.get_ref() {
            Secrets::One(text) => std::slice::from_ref(text),
            Secrets::Several(texts) => texts,
        };
        if texts.is_empty() {
            self.problem(secrets.span(), "secret: the list is empty; without the key, nothing is signed");
        }
        let mut signer: Option<Signer> = None;
        for text in texts {
            match text.parse::<Secret>() {
                Ok(secret) => {
                    signer = Some(match signer {
                        Some(signer) => signer.and(secret),
                        None => Signer::new(secret),
                    });
                }
                Err(error) => self.problem(secrets.span(), error),
            }
        }
        signer
    }

    fn filter(&mut self, FilterTable { field, is }: FilterTable) -> Filter {
        if !field.get_ref().starts_with('/') {
            self.problem(field.span(), "field must be a JSON pointer, as \"/target/repository\"");
        }
        let values = match is.get_ref() {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        };
        if values.is_empty() {
            self.problem(is.span(), "is: the list is empty, and no event would pass");
        }
        let values = values.iter().map(|value| match value {
            Scalar::Boolean(value) => (*value).into(),
            Scalar::Integer(value) => (*value).into(),
            Scalar::Text(value) => value.as_str().into(),
        });
        Filter { values: values.collect(), field: field.into_inner() }
    }
}
