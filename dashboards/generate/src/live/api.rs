//! The few calls of Prometheus' HTTP API that are needed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// One series of an answer: its labels, and its samples as times and values.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) samples: Vec<(f64, f64)>,
}

pub(super) struct Api {
    agent: Agent,
    base: String,
}

impl Api {
    pub(super) fn new(address: &str) -> Self {
        let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).http_status_as_error(false);
        Self { agent: Agent::new_with_config(config.build()), base: format!("http://{address}") }
    }

    pub(super) fn text(&self, path: &str) -> Result<String, String> {
        let mut answer =
            self.agent.get(format!("{}{path}", self.base)).call().map_err(|error| format!("{path}: {error}"))?;
        let status = answer.status();
        let body = answer.body_mut().read_to_string().map_err(|error| format!("{path}: {error}"))?;
        if status.is_success() { Ok(body) } else { Err(format!("{path}: {status}: {body}")) }
    }

    pub(super) fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value, String> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = parameters.iter().fold(request, |request, (name, value)| request.query(*name, value));
        let about = || parameters.first().map_or(path, |(_, value)| value).to_owned();
        let mut answer = request.call().map_err(|error| format!("{}: {error}", about()))?;
        let body = answer.body_mut().read_to_string().map_err(|error| format!("{}: {error}", about()))?;
        let body: Value = serde_json::from_str(&body).map_err(|error| format!("{}: {error}: {body}", about()))?;
        if body["status"] == "success" {
            Ok(body["data"].clone())
        } else {
            Err(format!("{}: {}", about(), body["error"]))
        }
    }

    /// At one time. With a range selector, all samples in the range.
    pub(super) fn at(&self, expression: &str, time: f64) -> Result<Vec<Series>, String> {
        let data = self.get("/api/v1/query", &[("query", expression.to_owned()), ("time", time.to_string())])?;
        Ok(series(&data))
    }

    /// Once a `step`, as a panel does.
    pub(super) fn over(&self, expression: &str, from: f64, to: f64, step: f64) -> Result<Vec<Series>, String> {
        let parameters = [
            ("query", expression.to_owned()),
            ("start", from.to_string()),
            ("end", to.to_string()),
            ("step", step.to_string()),
        ];
        Ok(series(&self.get("/api/v1/query_range", &parameters)?))
    }
}

fn series(data: &Value) -> Vec<Series> {
    let read = |one: &Value| {
        let labels = one["metric"].as_object().into_iter().flatten();
        let samples = one["values"].as_array().cloned().unwrap_or_else(|| vec![one["value"].clone()]);
        Series {
            labels: labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
            samples: samples.iter().filter_map(sample).collect(),
        }
    };
    data["result"].as_array().into_iter().flatten().map(read).collect()
}

fn sample(pair: &Value) -> Option<(f64, f64)> {
    // Values are text, since JSON has no infinity.
    Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?))
}
