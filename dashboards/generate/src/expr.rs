//! What an expression of PromQL asks for: its series, and whether it takes their rate.

use std::time::Duration;

use promql_parser::parser::{self, Expr, VectorSelector};

/// A range that nobody writes, put in for Grafana's `$__rate_interval` so that it is recognized after parsing.
const RATE_INTERVAL: (&str, Duration) = ("7919s", Duration::from_secs(7919));

/// One selector in an expression.
#[derive(Debug, Clone)]
pub struct Selector {
    pub metric: String,
    /// Label, operator and value.
    pub matchers: Vec<(String, String, String)>,
    /// The function around it that takes a rate.
    pub rate: Option<&'static str>,
    /// Whether its range is `$__rate_interval`.
    pub by_rate_interval: bool,
}

/// The expression with Grafana's variables that stand for a time replaced.
#[must_use]
pub fn with_times(expression: &str, rate_interval: &str, range: &str) -> String {
    expression
        .replace("$__rate_interval", rate_interval)
        .replace("$__range", range)
        .replace("$__interval", rate_interval)
}

/// All selectors in the expression.
///
/// # Errors
///
/// If it is not PromQL.
pub fn selectors(expression: &str) -> Result<Vec<Selector>, String> {
    let parsed = parser::parse(&with_times(expression, RATE_INTERVAL.0, "1h"));
    let parsed = parsed.map_err(|error| format!("{expression}: does not parse: {error}"))?;
    let mut found = Vec::new();
    collect(&parsed, None, &mut found);
    Ok(found)
}

fn collect(expression: &Expr, rate: Option<&'static str>, found: &mut Vec<Selector>) {
    match expression {
        Expr::Aggregate(inner) => {
            collect(&inner.expr, rate, found);
            inner.param.iter().for_each(|param| collect(param, rate, found));
        }
        Expr::Unary(inner) => collect(&inner.expr, rate, found),
        Expr::Paren(inner) => collect(&inner.expr, rate, found),
        Expr::Subquery(inner) => collect(&inner.expr, rate, found),
        Expr::Binary(inner) => {
            collect(&inner.lhs, rate, found);
            collect(&inner.rhs, rate, found);
        }
        Expr::Call(call) => {
            let rate = ["rate", "irate", "increase"].into_iter().find(|name| *name == call.func.name).or(rate);
            call.args.args.iter().for_each(|argument| collect(argument, rate, found));
        }
        Expr::VectorSelector(selector) => found.push(read(selector, rate, None)),
        Expr::MatrixSelector(selector) => found.push(read(&selector.vs, rate, Some(selector.range))),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn read(selector: &VectorSelector, rate: Option<&'static str>, range: Option<Duration>) -> Selector {
    let matchers = selector.matchers.matchers.iter();
    Selector {
        metric: selector.name.clone().unwrap_or_default(),
        matchers: matchers.map(|m| (m.name.clone(), m.op.to_string(), m.value.clone())).collect(),
        rate,
        by_rate_interval: range == Some(RATE_INTERVAL.1),
    }
}

impl Selector {
    /// As text, to ask for its series alone.
    #[must_use]
    pub fn text(&self) -> String {
        let matchers = self.matchers.iter().map(|(label, op, value)| format!("{label}{op}{value:?}"));
        format!("{}{{{}}}", self.metric, matchers.collect::<Vec<_>>().join(","))
    }
}
