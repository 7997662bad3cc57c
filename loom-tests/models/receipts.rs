//! Receipts: the end of a tracked event comes after all its clones, whoever drops the last one.

use loom::thread;

use super::{Model, mutation};
use crate::receipt::Tracked;

pub(super) const MODELS: &[Model] = &[Model {
    name: "receipt_after_two_branches",
    preemptions: None,
    run: after_two_branches,
    mutations: &[mutation("receipt_end_notifies"), mutation("receipt_waits_for_the_end")],
}];

/// Two branches deliver the same event while its writer waits: the receipt names both, and is final.
fn after_two_branches() {
    let (event, receipt) = Tracked::new(7);
    let branches = ["disk", "screen"].map(|name| {
        let event = event.clone();
        thread::spawn(move || event.acknowledge(name))
    });
    drop(event);
    let outcome = receipt.wait().unwrap();
    assert!(outcome.has_all(["disk", "screen"]));
    branches.into_iter().for_each(|branch| branch.join().unwrap());
    assert_eq!(receipt.try_outcome(), Some(outcome));
}
