//! The dashboards, rules and runbook as they are in the project, and what would be wrong with worse ones.

use std::fs;

use dashboards_gen::table::Table;
use dashboards_gen::{boards, files, lint, rules};
use serde_json::{Value, json};

const NONE: [String; 0] = [];

fn boards(table: &Table) -> Vec<Value> {
    boards::all().iter().map(|board| board.json(table).unwrap()).collect()
}

fn runbook() -> String {
    fs::read_to_string(files::home().join("RUNBOOK.md")).unwrap()
}

#[test]
fn what_is_in_the_project_is_what_would_be_generated() {
    assert_eq!(files::drift(&files::home()).unwrap(), NONE);
}

#[test]
fn the_files_keep_the_rules() {
    for board in boards::all() {
        let text = fs::read_to_string(files::home().join(format!("grafana/{}.json", board.uid))).unwrap();
        assert_eq!(lint::dashboard(&serde_json::from_str(&text).unwrap(), &Table::default()), NONE);
    }
    let table = Table::default();
    assert_eq!(lint::rules(&table, &runbook(), &boards(&table)), NONE);
}

/// The panels that wait for metrics which the crate does not have yet, too.
#[test]
fn what_is_announced_keeps_the_rules() {
    let table = Table::complete();
    for board in boards(&table) {
        assert_eq!(lint::dashboard(&board, &table), NONE);
    }
}

#[test]
fn every_metric_of_the_crate_is_on_a_dashboard() {
    let table = Table::default();
    let all = boards(&table).iter().map(Value::to_string).collect::<String>();
    let missing: Vec<_> = table.own().map(|entry| &entry.name).filter(|name| !all.contains(name.as_str())).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn names_and_places_are_unique() {
    let uids: Vec<_> = boards::all().iter().map(|board| board.uid).collect();
    assert_eq!(uids.len(), 4);
    for board in boards(&Table::complete()).into_iter().chain(boards(&Table::default())) {
        let panels = board["panels"].as_array().unwrap();
        for (panel, next) in panels.iter().zip(panels.iter().skip(1).map(Some).chain([None])) {
            let is_followed = next.is_some_and(|next| next["type"] != "row");
            assert!(panel["type"] != "row" || is_followed, "row {} is empty", panel["title"]);
        }
        let mut cells = std::collections::HashSet::new();
        for panel in panels {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{panel}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{} lies over another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn each_alert_has_both_cases_and_what_it_needs() {
    for alert in rules::alerts() {
        assert!(["critical", "warning", "info"].contains(&alert.severity), "{}", alert.name);
        assert!(!alert.firing.series.is_empty() && !alert.silent.series.is_empty(), "{}", alert.name);
        assert!(alert.silent.labels.is_empty(), "{}", alert.name);
    }
}

#[test]
fn a_name_that_is_not_in_the_table_fails() {
    let table = Table::default();
    assert!(table.plain("sum(@queue_depht)").unwrap_err().contains("queue_depht"));
    assert!(table.plain("@queue_depth{qeueu=\"a\"}").unwrap_err().contains("qeueu"));
    assert!(table.is_there("queue_weight_seconds").is_err());
    assert_eq!(
        table.plain("sum(@queue_depth{queue=\"a\"}) / @up").unwrap(),
        "sum(sinkworks_queue_depth{queue=\"a\"}) / up"
    );
}

/// What the linter says of the first dashboard when one thing is changed: an expression of its first panel, or a field.
fn findings(change: impl FnOnce(&mut Value)) -> String {
    let table = Table::default();
    let mut board = boards(&table).remove(0);
    change(&mut board);
    lint::dashboard(&board, &table).join("\n")
}

fn of_expression(expression: &str) -> String {
    findings(|board| board["panels"][0]["targets"][0]["expr"] = expression.into())
}

#[test]
fn each_rule_finds_what_it_is_about() {
    let matched = "job=~\"$job\", instance=~\"$instance\"";
    let of = |template: &str| of_expression(&template.replace('%', matched));
    assert_eq!(of("sum(sinkworks_queue_depth{%})"), "");
    assert!(of("sum(sinkworks_queue_length{%})").contains("not in the table"));
    assert!(of("sum(sinkworks_queue_depth{%, reason=\"x\"})").contains("no label"));
    assert!(of("sum(sinkworks_queue_accepted_total{%})").contains("without rate"));
    assert!(of("sum(rate(sinkworks_queue_depth{%}[$__rate_interval]))").contains("over the gauge"));
    assert!(of("rate(sinkworks_queue_accepted_total{%}[5m])").contains("something else than $__rate_interval"));
    assert!(of("sum(sinkworks_queue_depth{job=~\"$job\"})").contains("without instance"));
    assert!(of("sum(sinkworks_queue_depth{instance=~\"$instance\"})").contains("without job"));
    assert!(of("sum(sinkworks_queue_depth{%}").contains("does not parse"));

    let panel = |field: &'static str, value: Value| findings(move |board| board["panels"][0][field] = value);
    assert!(panel("title", json!("")).contains("no title"));
    assert!(panel("description", json!("")).contains("no description"));
    assert!(panel("targets", json!([])).contains("no expression"));
    assert!(panel("datasource", json!({"uid": "prometheus-1"})).contains("fixed data source"));
    assert!(panel("fieldConfig", json!({"defaults": {}})).contains("no unit"));
    assert!(findings(|board| board["id"] = 7.into()).contains("id is not null"));
    assert!(findings(|board| board["__inputs"] = json!([])).contains("inputs"));
    assert!(findings(|board| board["templating"]["list"][1]["allValue"] = Value::Null).contains("job"));
}

#[test]
fn the_runbook_must_follow_the_alerts() {
    let table = Table::default();
    let of = |text: &str| lint::rules(&table, text, &boards(&table)).join("\n");
    let book = runbook();
    assert!(of(&book.replace("## SinkworksBreakerOpen", "## Something")).contains("no section SinkworksBreakerOpen"));
    assert!(of(&format!("{book}\n## SinkworksNonsense\n")).contains("about no alert"));
    assert!(of(&format!("{book}\nsinkworks_queue_length\n")).contains("in no table"));
}
