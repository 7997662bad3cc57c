//! The rules as Prometheus and promtool read them.

use std::fmt::Write;

use super::{Alert, Case, alerts, recordings};
use crate::grafana::GENERATED;
use crate::table::Table;

/// Where an operator reads what to do. The file ships with the crate.
const RUNBOOK: &str = "https://docs.rs/crate/sinkworks/latest/source/dashboards/RUNBOOK.md";

/// A YAML string. In single quotes nothing is special but the quote.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// # Errors
///
/// For a name that is not in the table.
pub fn recordings_file(table: &Table) -> Result<String, String> {
    let mut text = format!("# {GENERATED}\ngroups:\n  - name: sinkworks-recording\n    rules:\n");
    for rule in recordings() {
        let expression = table.plain(rule.expression).map_err(|error| format!("rule {}: {error}", rule.name))?;
        let _ = write!(text, "      - record: {}\n        expr: {}\n", rule.name, quoted(&expression));
    }
    Ok(text)
}

/// # Errors
///
/// For a name that is not in the table.
pub fn alerts_file(table: &Table) -> Result<String, String> {
    let mut text = format!("# {GENERATED}\ngroups:\n  - name: sinkworks-alerts\n    rules:\n");
    for alert in alerts() {
        let expression = table.plain(alert.expression).map_err(|error| format!("alert {}: {error}", alert.name))?;
        let _ = write!(text, "      - alert: {}\n        expr: {}\n", alert.name, quoted(&expression));
        if !alert.hold.is_empty() {
            let _ = writeln!(text, "        for: {}", alert.hold);
        }
        let _ = write!(text, "        labels:\n          severity: {}\n        annotations:\n", alert.severity);
        for (name, value) in alert.annotations() {
            let _ = writeln!(text, "          {name}: {}", quoted(&value));
        }
    }
    Ok(text)
}

impl Alert {
    fn annotations(&self) -> [(&'static str, String); 4] {
        [
            ("summary", self.summary.to_owned()),
            ("description", self.description.to_owned()),
            ("dashboard", self.dashboard.to_owned()),
            ("runbook_url", format!("{RUNBOOK}#{}", self.name.to_lowercase())),
        ]
    }
}

/// Unit tests for `promtool test rules`: for each alert one that it fires, and one that it is silent.
///
/// # Errors
///
/// For a name that is not in the table.
pub fn tests_file(table: &Table) -> Result<String, String> {
    let mut text = format!(
        "# {GENERATED}\n# Run by `promtool test rules`.\nrule_files:\n  - recording.yml\n  - alerts.yml\nevaluation_interval: 1m\ntests:\n"
    );
    for alert in alerts() {
        write_case(&mut text, table, &alert, &alert.firing, true)?;
        write_case(&mut text, table, &alert, &alert.silent, false)?;
    }
    Ok(text)
}

fn write_case(text: &mut String, table: &Table, alert: &Alert, case: &Case, fires: bool) -> Result<(), String> {
    let title = format!("{}, {}", alert.name, if fires { "firing" } else { "silent" });
    let _ = write!(text, "  - name: {}\n    interval: 1m\n    input_series:\n", quoted(&title));
    for (series, values) in case.series {
        let series = table.expand(series, |_| "job=\"shop\", instance=\"a:9100\"".to_owned());
        let series = series.map_err(|error| format!("{title}: {error}"))?;
        let _ = write!(text, "      - series: {}\n        values: {}\n", quoted(&series), quoted(values));
    }
    let _ = write!(text, "    alert_rule_test:\n      - eval_time: {}\n        alertname: {}\n", case.at, alert.name);
    if !fires {
        text.push_str("        exp_alerts: []\n");
        return Ok(());
    }
    let labels: Vec<_> = [("severity", alert.severity), ("job", "shop")].iter().chain(case.labels).copied().collect();
    text.push_str("        exp_alerts:\n          - exp_labels:\n");
    for (name, value) in &labels {
        let _ = writeln!(text, "              {name}: {}", quoted(value));
    }
    text.push_str("            exp_annotations:\n");
    for (name, value) in alert.annotations() {
        let _ = writeln!(text, "              {name}: {}", quoted(&filled(value, &labels, case.value)));
    }
    Ok(())
}

/// What Prometheus makes of an annotation.
fn filled(mut text: String, labels: &[(&str, &str)], value: &str) -> String {
    for (name, label) in labels {
        text = text.replace(&format!("{{{{ $labels.{name} }}}}"), label);
    }
    for function in ["humanize", "humanizePercentage"] {
        text = text.replace(&format!("{{{{ $value | {function} }}}}"), value);
    }
    text
}
