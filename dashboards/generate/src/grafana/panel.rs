//! A panel as Grafana's classic JSON.

use serde_json::{Value, json};

use super::{Dashboard, Look, Panel, datasource};
use crate::table::Table;

impl Panel {
    pub(super) fn exists(&self, table: &Table) -> Result<bool, String> {
        self.needs.map_or(Ok(true), |metric| table.is_there(metric))
    }

    pub(super) fn expressions(&self, dashboard: &Dashboard, table: &Table) -> Result<Vec<String>, String> {
        let expand = |(template, _): &(&str, &str)| {
            let expanded = table.expand(template, |entry| dashboard.matchers(entry));
            expanded.map_err(|error| format!("{}, panel {:?}: {error}", dashboard.uid, self.title))
        };
        self.targets.iter().map(expand).collect()
    }

    pub(super) fn json(&self, id: usize, position: &Value, expressions: &[String]) -> Value {
        let targets = expressions.iter().zip(&self.targets).zip('A'..).map(|((expression, (_, legend)), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": datasource(), "expr": expression, "legendFormat": legend,
                "editorMode": "code", "range": true, "instant": false,
            })
        });
        json!({
            "id": id,
            "type": self.kind(),
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": position,
            "targets": targets.collect::<Vec<_>>(),
            "fieldConfig": {"defaults": self.field(), "overrides": []},
            "options": self.options(),
        })
    }

    fn kind(&self) -> &'static str {
        match self.look {
            Look::Lines | Look::Stacked => "timeseries",
            Look::Number | Look::Alarm => "stat",
            Look::BreakerStates | Look::Presence => "state-timeline",
        }
    }

    fn field(&self) -> Value {
        let mut field = json!({"unit": self.unit, "min": 0, "mappings": [], "links": []});
        let plain = json!({"mode": "absolute", "steps": [{"color": "text", "value": null}]});
        field["thresholds"] = plain;
        match self.look {
            Look::Lines | Look::Stacked => {
                let stacked = self.look == Look::Stacked;
                field["color"] = json!({"mode": "palette-classic"});
                field["custom"] = json!({
                    "drawStyle": "line", "lineWidth": 1, "lineInterpolation": "linear", "showPoints": "auto", "spanNulls": false,
                    "fillOpacity": if stacked { 40 } else { 10 },
                    "stacking": {"mode": if stacked { "normal" } else { "none" }, "group": "A"},
                });
            }
            Look::Number => field["color"] = json!({"mode": "thresholds"}),
            Look::Alarm => {
                field["color"] = json!({"mode": "thresholds"});
                field["thresholds"]["steps"] =
                    json!([{"color": "green", "value": null}, {"color": "red", "value": 0.000_001}]);
            }
            Look::BreakerStates => {
                field["mappings"] =
                    mappings(&[(0, 0, "closed", "green"), (1, 1, "half-open", "yellow"), (2, 3, "open", "red")]);
            }
            Look::Presence => field["mappings"] = mappings(&[(0, 0, "missing", "red"), (1, 1, "present", "green")]),
        }
        if matches!(self.look, Look::BreakerStates | Look::Presence) {
            field["color"] = json!({"mode": "thresholds"});
            field["custom"] = json!({"fillOpacity": 80, "lineWidth": 0, "spanNulls": false});
        }
        if self.opens_queue {
            field["links"] = json!([{
                "title": "This queue in depth", "targetBlank": false,
                "url": "/d/sinkworks-queue?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&var-queue=${__field.labels.queue}&${__url_time_range}",
            }]);
        }
        field
    }

    fn options(&self) -> Value {
        let legend = json!({"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []});
        match self.look {
            Look::Lines | Look::Stacked => json!({"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}),
            Look::Number | Look::Alarm => json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
            }),
            Look::BreakerStates | Look::Presence => json!({
                "legend": legend, "tooltip": {"mode": "single", "sort": "none"},
                "mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
            }),
        }
    }
}

/// What a range of values is called and how it is coloured.
fn mappings(ranges: &[(u32, u32, &str, &str)]) -> Value {
    let mapping = |(index, (from, to, text, color)): (usize, &(u32, u32, &str, &str))| json!({"type": "range", "options": {"from": from, "to": to, "result": {"text": text, "color": color, "index": index}}});
    ranges.iter().enumerate().map(mapping).collect()
}
