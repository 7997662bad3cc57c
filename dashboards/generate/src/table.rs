//! The names that dashboards and rules may use: the crate's own table, and a few that Prometheus and every process have.
//!
//! An expression is written with `@name` in place of a metric. [`Table::expand`] puts the full name in its place, with the dashboard's
//! matchers, and fails for a name or a label that no table has.

use sinkworks::telemetry::{self, MetricKind};

const PREFIX: &str = "sinkworks_";

/// Metrics that are announced but that the crate's table may not have yet. What needs one of these is left out until the table has
/// it; a name that is neither there nor here is an error.
const ANNOUNCED: [(&str, Kind, &str); 4] = [
    ("queue_wait_seconds", Kind::Histogram, "queue"),
    ("write_duration_seconds", Kind::Histogram, "queue"),
    ("retry_backoff_seconds", Kind::Histogram, "sink"),
    ("queue_last_delivery_timestamp_seconds", Kind::Gauge, "queue"),
];

/// What is not the crate's: from Prometheus itself for each scrape, and the standard metrics of a process, which services have
/// from a library such as metrics-process.
const FOREIGN: [(&str, Kind); 8] = [
    ("up", Kind::Gauge),
    ("scrape_duration_seconds", Kind::Gauge),
    ("scrape_samples_scraped", Kind::Gauge),
    ("process_cpu_seconds_total", Kind::Counter),
    ("process_resident_memory_bytes", Kind::Gauge),
    ("process_open_fds", Kind::Gauge),
    ("process_threads", Kind::Gauge),
    ("process_start_time_seconds", Kind::Gauge),
];

/// How a metric behaves, and so what may be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family of series that an expression may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub kind: Kind,
    pub labels: Vec<String>,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Table(Vec<Entry>);

impl Default for Table {
    /// As the crate is now.
    fn default() -> Self {
        let own = telemetry::metrics().iter().map(|metric| Entry {
            name: metric.name.to_owned(),
            kind: match metric.kind {
                MetricKind::Counter => Kind::Counter,
                MetricKind::Gauge => Kind::Gauge,
                // The only other kind that Prometheus has, as far as this crate goes.
                _ => Kind::Histogram,
            },
            labels: metric.labels.iter().map(ToString::to_string).collect(),
        });
        let foreign = FOREIGN.map(|(name, kind)| Entry { name: name.to_owned(), kind, labels: Vec::new() });
        Self(own.chain(foreign).collect())
    }
}

impl Table {
    /// With the announced metrics too, so that what waits for them can be tested before.
    #[must_use]
    pub fn complete() -> Self {
        let mut table = Self::default();
        for (name, kind, label) in ANNOUNCED {
            if !table.has(name) {
                table.0.push(Entry { name: format!("{PREFIX}{name}"), kind, labels: vec![label.to_owned()] });
            }
        }
        table
    }

    fn get(&self, full: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.name == full)
    }

    fn has(&self, short: &str) -> bool {
        self.get(&format!("{PREFIX}{short}")).is_some()
    }

    /// Whether what needs this metric can be made.
    ///
    /// # Errors
    ///
    /// If there is no such metric, and none is announced.
    pub fn is_there(&self, short: &str) -> Result<bool, String> {
        let announced = ANNOUNCED.iter().any(|(name, ..)| *name == short);
        if self.has(short) || announced { Ok(self.has(short)) } else { Err(unknown(short)) }
    }

    /// The entry that a series of this name belongs to, and what it is: the series of a histogram count.
    #[must_use]
    pub fn series(&self, full: &str) -> Option<(&Entry, Kind)> {
        if let Some(entry) = self.get(full) {
            return Some((entry, entry.kind));
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| full.strip_suffix(part))?;
        self.get(base).filter(|entry| entry.kind == Kind::Histogram).map(|entry| (entry, Kind::Counter))
    }

    /// The crate's own metrics.
    pub fn own(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| entry.name.starts_with(PREFIX))
    }

    /// Puts the names and matchers into an expression. `matchers` answers those that every selector of the metric gets.
    ///
    /// # Errors
    ///
    /// For a name or a label that is not in the table.
    pub fn expand(&self, template: &str, matchers: impl Fn(&Entry) -> String) -> Result<String, String> {
        let mut pieces = template.split('@');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(piece.len());
            let (short, mut rest) = piece.split_at(end);
            let full = format!("{PREFIX}{short}");
            let (full, (entry, _)) = (self.series(&full).map(|found| (full.as_str(), found)))
                .or_else(|| self.series(short).map(|found| (short, found)))
                .ok_or_else(|| unknown(short))?;
            let mut own = "";
            if let Some(inner) = rest.strip_prefix('{') {
                (own, rest) = inner.split_once('}').ok_or_else(|| format!("{template}: a brace is not closed"))?;
                check_labels(entry, own)?;
            }
            let all: Vec<String> = [matchers(entry), own.to_owned()].into_iter().filter(|m| !m.is_empty()).collect();
            text.push_str(full);
            if !all.is_empty() {
                text.push_str(&format!("{{{}}}", all.join(", ")));
            }
            text.push_str(rest);
        }
        Ok(text)
    }

    /// The same without matchers of its own, for rules.
    ///
    /// # Errors
    ///
    /// As `expand`.
    pub fn plain(&self, template: &str) -> Result<String, String> {
        self.expand(template, |_| String::new())
    }
}

fn check_labels(entry: &Entry, matchers: &str) -> Result<(), String> {
    for matcher in matchers.split(',') {
        let label = matcher.split(['=', '!']).next().unwrap_or_default().trim();
        if label != "le" && !entry.labels.iter().any(|known| known == label) {
            return Err(format!("{} has no label {label:?}, only {:?}", entry.name, entry.labels));
        }
    }
    Ok(())
}

fn unknown(short: &str) -> String {
    format!("no metric {short:?} in the table of names, src/telemetry/names.rs")
}
