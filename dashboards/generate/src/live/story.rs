//! Could an operator see the outage, scrape by scrape, and are the numbers true?

use std::collections::BTreeMap;

use super::api::Api;
use super::run::Life;
use crate::table::Table;

/// So many scrapes of an outage must show it.
const SCRAPES: usize = 10;
/// From the first refusal until the breaker is open and a probe was made.
const ONSET: f64 = 0.3;

/// One scrape of the queue "webhook" and what is behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Scrape {
    depth: f64,
    closed: f64,
    open: f64,
    half_open: f64,
    retries: f64,
}

pub(super) fn check(prometheus: &Api, table: &Table, life: &Life) -> Result<Vec<String>, String> {
    let mut findings = outage(&scrapes(prometheus, table, life)?, life);
    findings.extend(accounts(prometheus, table, life)?);
    Ok(findings)
}

/// By the time of the scrape, in milliseconds.
fn scrapes(prometheus: &Api, table: &Table, life: &Life) -> Result<BTreeMap<i64, Scrape>, String> {
    let mut scrapes: BTreeMap<i64, Scrape> = BTreeMap::new();
    let Life { job, times, .. } = life;
    let length = (times.end - times.began).ceil();
    let mut read = |selector: &str, field: fn(&mut Scrape) -> &mut f64| -> Result<(), String> {
        let selector = table.plain(selector)?.replace('}', &format!(", job=\"{job}\"}}"));
        let samples = format!("{selector}[{length:.0}s]");
        for (time, value) in prometheus.at(&samples, times.end)?.iter().flat_map(|series| &series.samples) {
            #[allow(clippy::cast_possible_truncation, reason = "times of this century")]
            let time = (time * 1000.0).round() as i64;
            *field(scrapes.entry(time).or_default()) = *value;
        }
        Ok(())
    };
    read("@queue_depth{queue=\"webhook\"}", |scrape| &mut scrape.depth)?;
    read("@breaker_state{breaker=\"webhook\", state=\"closed\"}", |scrape| &mut scrape.closed)?;
    read("@breaker_state{breaker=\"webhook\", state=\"open\"}", |scrape| &mut scrape.open)?;
    read("@breaker_state{breaker=\"webhook\", state=\"half_open\"}", |scrape| &mut scrape.half_open)?;
    read("@retries_total{sink=\"webhook\"}", |scrape| &mut scrape.retries)?;
    Ok(scrapes)
}

fn outage(scrapes: &BTreeMap<i64, Scrape>, life: &Life) -> Vec<String> {
    #[allow(clippy::cast_precision_loss, reason = "times of this century")]
    let within = |from: f64, to: f64| -> Vec<Scrape> {
        let seconds = |time: i64| time as f64 / 1000.0;
        scrapes
            .iter()
            .filter(|(time, _)| seconds(**time) > from && seconds(**time) < to)
            .map(|(_, scrape)| *scrape)
            .collect()
    };
    let during = within(life.times.down + ONSET, life.times.up);
    let mut findings = Vec::new();
    if during.len() < SCRAPES {
        findings.push(format!("only {} scrapes during the outage", during.len()));
    }
    // The first is compared with the last one before.
    let before = within(life.times.began, life.times.down).last().copied().unwrap_or_default();
    let mut last = before;
    for (number, scrape) in (1..).zip(&during) {
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                findings.push(format!("scrape {number} of the outage: {what}: {scrape:?} after {last:?}"));
            }
        };
        expect(scrape.depth > last.depth, "the depth does not rise");
        expect(scrape.closed == 0.0 && scrape.open + scrape.half_open == 1.0, "the breaker is not open");
        expect(
            scrape.retries >= last.retries
                && scrape.retries > if life.retries_each_scrape { last.retries } else { before.retries },
            "no retry was counted",
        );
        last = *scrape;
    }
    let open = during.iter().filter(|scrape| scrape.open == 1.0).count();
    let back = within(life.times.settled, life.times.end);
    if back.is_empty() || back.iter().any(|scrape| scrape.depth != 0.0 || scrape.closed != 1.0 || scrape.open != 0.0) {
        findings.push(format!("not all is back at the end: {back:?}"));
    }
    println!(
        "{}: {} scrapes of the outage; depth {} to {}; breaker open in {open}, else half-open; retries {} to {}; {} scrapes after it",
        life.job,
        during.len(),
        before.depth,
        last.depth,
        before.retries,
        last.retries,
        back.len(),
    );
    findings
}

/// Which metric has the value that the program calls by this name.
fn metric(component: &str, field: &str) -> Option<String> {
    Some(match (component, field) {
        ("queue", "accepted" | "delivered" | "dropped" | "refused") => format!("@queue_{field}_total"),
        ("queue", "pending") => "@queue_depth".to_owned(),
        ("queue", "letters_lost") => "@queue_dead_letters_total{outcome=\"lost\"}".to_owned(),
        ("sink", "retries") => "@retries_total".to_owned(),
        ("sink", outcome) => format!("@write_attempts_total{{outcome=\"{outcome}\"}}"),
        ("breaker", to) => format!("@breaker_transitions_total{{to=\"{to}\"}}"),
        ("broadcaster", field) => format!("@broadcaster_{field}_total"),
        ("channel", "lagged") => "@channel_lagged_total".to_owned(),
        _ => return None,
    })
}

/// What Prometheus has at the end against what the program has counted.
fn accounts(prometheus: &Api, table: &Table, life: &Life) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    let mut compared = 0;
    let mut delivered = "";
    let mut arrived = "";
    for line in &life.accounts {
        let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
        let Some((component, name)) = fields.next() else { continue };
        if component == "arrived" {
            arrived = name;
        }
        for (field, said) in fields {
            if (component, name, field) == ("queue", "webhook", "delivered") {
                delivered = said;
            }
            let metric = metric(component, field).ok_or_else(|| format!("no metric for {component}'s {field}"))?;
            let matcher = |_: &_| format!("{component}=\"{name}\", job=\"{}\"", life.job);
            let expression = format!("sum({})", table.expand(&metric, matcher)?);
            let value = prometheus.at(&expression, life.times.end)?;
            let value = value.first().and_then(|series| series.samples.first()).map(|(_, value)| *value);
            compared += 1;
            if value != said.parse().ok() {
                findings.push(format!("{expression} is {value:?} where the program says {said}"));
            }
        }
    }
    if compared == 0 || arrived.is_empty() || delivered != arrived {
        findings.push(format!("the receiver has {arrived:?} events, its queue says {delivered:?}"));
    }
    println!("{}: {compared} values in Prometheus as the program has counted them; {arrived} events arrived", life.job);
    Ok(findings)
}
