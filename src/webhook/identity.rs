//! The ids of events that bring none of their own.
//!
//! A receiver passes over an event whose id it knows, so an id that two events share loses one of them. The number that a delivery has
//! ([`Delivery::id`](crate::Delivery::id)) does not tell events of two queues in front of one webhook apart, nor those before and after a restart. So each webhook has a
//! random text of its own and counts; the number is kept in the event's journey from one attempt to the next.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::{SecureRandom, SystemRandom};

/// Which message of a webhook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageNumber(u64);

pub(super) struct MessageIds {
    prefix: String,
    next: AtomicU64,
}

impl MessageIds {
    pub(super) fn new() -> Self {
        let mut random = [0; 16];
        if SystemRandom::new().fill(&mut random).is_err() {
            // Where the system has no randomness, that of the standard library's hashes must do. No secret is made of it.
            random = fastrand::u128(..).to_be_bytes();
        }
        let mut prefix = "msg_".to_owned();
        for byte in random {
            // To a string it cannot fail.
            let _ = write!(prefix, "{byte:02x}");
        }
        prefix.push('_');
        Self { prefix, next: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> MessageNumber {
        MessageNumber(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn text(&self, number: MessageNumber) -> String {
        format!("{}{}", self.prefix, number.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::signature::is_valid_id;

    #[test]
    fn no_two_messages_have_one_id() {
        let webhooks = [MessageIds::new(), MessageIds::new()];
        let mut ids: Vec<String> =
            webhooks.iter().flat_map(|ids| [ids.next(), ids.next()].map(|number| ids.text(number))).collect();
        assert!(ids.iter().all(|id| is_valid_id(id)), "{ids:?}");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }
}
