//! Does every panel show something, and would every alert fire?

use std::collections::BTreeSet;

use serde_json::Value;

use super::api::Series;
use super::run::{RATE_INTERVAL, Run};
use crate::lint::{Query, panels as panels_of, queries};
use crate::table::Table;
use crate::{boards, expr, rules};

/// Of a panel's samples, in seconds.
pub(super) const STEP: f64 = 0.25;

/// What was looked at, and what is wrong with it.
pub(super) struct Coverage {
    pub(super) count: usize,
    pub(super) findings: Vec<String>,
}

/// Every expression of every panel must have data, and not zeros alone: the run has something of everything.
pub(super) fn panels(run: &Run, table: &Table) -> Result<Coverage, String> {
    let mut coverage = Coverage { count: 0, findings: Vec::new() };
    for board in boards::all() {
        let board = board.json(table)?;
        coverage.findings.extend(variables(run, &board)?);
        for panel in panels_of(&board) {
            coverage.count += 1;
            for query in queries(&board, panel) {
                let mut seen = BTreeSet::new();
                for queue in queues(&board) {
                    let series = ask(run, &query, queue)?;
                    seen.insert(state(&series));
                }
                match seen.last() {
                    Some(Seen::Something) => {}
                    Some(Seen::Zeros) => {
                        coverage.findings.push(format!("{}: always 0: {}", query.place, query.expression))
                    }
                    _ => coverage.findings.push(format!("{}: empty: {}", query.place, query.expression)),
                }
            }
        }
    }
    Ok(coverage)
}

/// As it is put to Prometheus while `queue` is chosen, where one is.
pub(super) fn ask(run: &Run, query: &Query, queue: &str) -> Result<Vec<Series>, String> {
    let length = format!("{:.0}s", run.life.times.settled - run.life.times.began);
    let expression =
        expr::with_times(&query.expression, RATE_INTERVAL, &length).replace("\"$queue\"", &format!("{queue:?}"));
    let expression = all_chosen(&expression);
    run.prometheus.over(&expression, run.life.times.began, run.life.times.settled, STEP)
}

/// The queues that are looked at one by one, where a dashboard is about one.
pub(super) fn queues(board: &Value) -> &'static [&'static str] {
    let of_one = |variable: &Value| variable["name"] == "queue" && variable["multi"] == false;
    let one = board["templating"]["list"].as_array().into_iter().flatten().any(of_one);
    if one { &["webhook", "archive", "mirror"] } else { &[".+"] }
}

/// Grafana's own way to say "all".
fn all_chosen(expression: &str) -> String {
    let mut text = String::new();
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once("=~\"$") {
        let end = after.find('"').unwrap_or(after.len());
        text.push_str(before);
        text.push_str("=~\".+");
        rest = &after[end..];
    }
    text + rest
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Zeros,
    Something,
}

fn state(series: &[Series]) -> Seen {
    let mut values = series.iter().flat_map(|series| &series.samples).map(|(_, value)| *value);
    if values.clone().any(|value| value.is_finite() && value != 0.0) {
        Seen::Something
    } else if values.any(f64::is_finite) {
        Seen::Zeros
    } else {
        Seen::Nothing
    }
}

/// Each choice of a dashboard must offer something.
fn variables(run: &Run, board: &Value) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for variable in board["templating"]["list"].as_array().into_iter().flatten() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.trim_start_matches("label_values(").trim_end_matches(')');
        let (selector, label) = inner.rsplit_once(", ").unwrap_or_default();
        let range = [("start", run.life.times.began.to_string()), ("end", run.life.times.settled.to_string())];
        let parameters = [[("match[]", all_chosen(selector))].as_slice(), &range].concat();
        let values = run.prometheus.get(&format!("/api/v1/label/{label}/values"), &parameters)?;
        if values.as_array().is_none_or(Vec::is_empty) {
            findings.push(format!("{}, variable {}: empty: {query}", board["uid"], variable["name"]));
        }
    }
    Ok(findings)
}

/// Every alert's series must be there, and its condition must have held at some time. Every recording rule must have recorded.
pub(super) fn alerts(run: &Run, table: &Table) -> Result<Coverage, String> {
    let mut findings = Vec::new();
    let (from, to) = (run.life.times.began, run.life.times.end);
    let all = rules::alerts();
    for alert in &all {
        let expression = table.plain(alert.expression)?;
        for selector in expr::selectors(&expression)? {
            if run.prometheus.over(&selector.text(), from, to, 0.5)?.is_empty() {
                findings.push(format!("{}: no series {}", alert.name, selector.text()));
            }
        }
        if run.prometheus.over(&expression, from, to, 0.5)?.is_empty() {
            findings.push(format!("{}: did not hold at any time: {expression}", alert.name));
        }
    }
    let recordings = rules::recordings();
    for rule in &recordings {
        if state(&run.prometheus.over(rule.name, from, to, 0.5)?) != Seen::Something {
            findings.push(format!("{}: nothing recorded", rule.name));
        }
    }
    findings.extend(loaded(run, all.len() + recordings.len())?);
    Ok(Coverage { count: all.len(), findings })
}

/// Prometheus' own word on its rules.
fn loaded(run: &Run, expected: usize) -> Result<Vec<String>, String> {
    let data = run.prometheus.get("/api/v1/rules", &[])?;
    let groups = data["groups"].as_array().into_iter().flatten();
    let rules: Vec<&Value> = groups.filter_map(|group| group["rules"].as_array()).flatten().collect();
    let mut findings: Vec<String> = (rules.iter().filter(|rule| rule["health"] != "ok"))
        .map(|rule| format!("{}: Prometheus says {} {}", rule["name"], rule["health"], rule["lastError"]))
        .collect();
    if rules.len() != expected {
        findings.push(format!("Prometheus has {} rules instead of {expected}", rules.len()));
    }
    Ok(findings)
}
