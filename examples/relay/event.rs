//! What the demonstration sends. An event follows from its number, so that the receiver can tell whether it got it unchanged.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    PageViewed,
    OrderPlaced,
    PaymentTaken,
    ParcelSent,
}

const KINDS: [Kind; 4] = [Kind::PageViewed, Kind::OrderPlaced, Kind::PaymentTaken, Kind::ParcelSent];

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    pub(crate) payload: String,
}

impl Event {
    pub(crate) fn number(seq: u64) -> Self {
        // Scattered, so that the kinds do not come in turn.
        let scattered = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let kind = KINDS[usize::try_from(scattered % 4).unwrap_or_default()];
        Self { seq, kind, payload: format!("customer {:05}, item \"{:04x}\"", scattered % 50_000, scattered >> 16) }
    }

    /// What the file gets.
    pub(crate) fn is_payment(&self) -> bool {
        self.kind == Kind::PaymentTaken
    }
}
