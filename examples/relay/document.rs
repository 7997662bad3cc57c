//! The file of endpoints as it is written.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::config::FormatName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) dead_letters: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(crate) endpoint: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) name: Spanned<String>,
    pub(crate) url: Spanned<String>,
    pub(crate) secret: Option<Spanned<Secrets>>,
    #[serde(default)]
    pub(crate) format: FormatName,
    pub(crate) source: Option<Spanned<String>>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<Spanned<String>>,
    pub(crate) filter: Option<FilterTable>,
    #[serde(default = "yes")]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) allow: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) deny: Vec<Spanned<String>>,
    pub(crate) tls: Option<Spanned<TlsTable>>,
    pub(crate) timeout_ms: Option<Spanned<u64>>,
    pub(crate) batch: Option<Spanned<BatchTable>>,
    #[serde(default)]
    pub(crate) queue: QueueTable,
    #[serde(default)]
    pub(crate) retry: RetryTable,
    #[serde(default)]
    pub(crate) breaker: BreakerTable,
}

pub(crate) fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a secret must be a text, or a list of texts")]
pub(crate) enum Secrets {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterTable {
    pub(crate) field: Spanned<String>,
    pub(crate) is: Spanned<Values>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a filter compares with a text, an integer or a boolean, or with a list of them")]
pub(crate) enum Values {
    One(Scalar),
    Several(Vec<Scalar>),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

/// Files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsTable {
    pub(crate) roots: Option<Spanned<PathBuf>>,
    pub(crate) certificate: Option<Spanned<PathBuf>>,
    pub(crate) key: Option<Spanned<PathBuf>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchTable {
    pub(crate) max_events: Option<Spanned<u64>>,
    pub(crate) max_bytes: Option<Spanned<u64>>,
    pub(crate) linger_ms: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueTable {
    pub(crate) capacity: Option<Spanned<u64>>,
    pub(crate) capacity_bytes: Option<Spanned<u64>>,
    pub(crate) overflow: Option<Spanned<OverflowName>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OverflowName {
    Reject,
    DropNewest,
    DropOldest,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryTable {
    pub(crate) attempts: Option<Spanned<u64>>,
    pub(crate) give_up_ms: Option<Spanned<u64>>,
    pub(crate) backoff_ms: Option<Spanned<u64>>,
    pub(crate) max_backoff_ms: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BreakerTable {
    pub(crate) threshold: Option<Spanned<u64>>,
    pub(crate) backoff_ms: Option<Spanned<u64>>,
}
