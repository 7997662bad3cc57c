//! Names that do harm where they are not escaped: each is refused by every builder, or renders as valid lines.
#![cfg(feature = "prometheus")]

use std::time::Duration;

use sinkworks::telemetry::Exporter;
use sinkworks::{Breaker, Broadcaster, BuildError, Channel, Filter, Pool, Queue, RetryingSink, sink_fn};

/// Builds one of each kind, and keeps what it has built.
fn build(name: &str) -> Vec<Result<Box<dyn std::any::Any>, BuildError>> {
    fn any<T: 'static>(built: Result<T, BuildError>) -> Result<Box<dyn std::any::Any>, BuildError> {
        built.map(|built| Box::new(built) as Box<dyn std::any::Any>)
    }
    let sink = || sink_fn(|_: &u64| Ok(()));
    vec![
        any(Queue::builder(sink()).name(name).build()),
        any(Breaker::builder().name(name).build()),
        any(RetryingSink::named(name, sink(), Breaker::new(1, Duration::from_secs(1)))),
        any(Broadcaster::<u64>::named(name)),
        any(Channel::<u64>::builder().name(name).build()),
        any(Filter::named(name, sink(), |_: &u64| true)),
        any(Pool::builder().name(name).threads(1).build()),
    ]
}

/// Takes a sample apart as a scraper does: the name, the labels unescaped, the value. Panics over anything that is not valid.
fn parse(line: &str) -> (&str, Vec<(String, String)>, f64) {
    let (name, mut rest) = line.split_at(line.find(['{', ' ']).expect("a name"));
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            let mut value = String::new();
            let mut chars = after.chars();
            loop {
                match chars.next().expect(line) {
                    '"' => break,
                    '\\' => value.push(match chars.next() {
                        Some('n') => '\n',
                        Some(c @ ('\\' | '"')) => c,
                        _ => panic!("not an escape: {line}"),
                    }),
                    c => value.push(c),
                }
            }
            labels.push((label.to_owned(), value));
            rest = chars.as_str();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    (name, labels, rest.strip_prefix(' ').expect(line).parse().expect(line))
}

#[test]
fn every_name_is_refused_at_build_time_or_renders_as_valid_lines() {
    let long = "x".repeat(10_000);
    for name in ["", "\n", "a\nb", "tab\t", "nul\0", "\u{7f}", "\u{85}", long.as_str()] {
        for built in build(name) {
            assert!(matches!(built, Err(BuildError::Name)), "{name:?}");
        }
    }
    let longest = "y".repeat(128);
    let names = [
        "quote\"d",
        "\"",
        "back\\slash",
        "end\\",
        "b{r}a=c,e",
        "# HELP x",
        "é→漢🦀",
        "\u{202e}rtl",
        " ",
        "le",
        &longest,
    ];
    let _built: Vec<_> =
        names.iter().flat_map(|name| build(name)).map(|built| built.expect("a name that is allowed")).collect();
    let text = Exporter::install().unwrap().render();
    let mut seen = std::collections::HashSet::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (name, labels, value) = parse(line);
        assert!(value.is_finite() && seen.insert((name, labels)), "{line}");
    }
    for (metric, label) in [
        ("queue_depth", "queue"),
        ("queue_wait_seconds_count", "queue"),
        ("retry_backoff_seconds_sum", "sink"),
        ("broadcaster_sinks", "broadcaster"),
        ("channel_depth", "channel"),
        ("pool_ready", "pool"),
    ] {
        let metric = format!("sinkworks_{metric}");
        for name in names {
            assert!(seen.contains(&(metric.as_str(), vec![(label.to_owned(), name.to_owned())])), "{metric} {name:?}");
        }
    }
    assert!(serde_json::from_str::<serde_json::Value>(&sinkworks::telemetry::topology().to_json()).is_ok());
}
