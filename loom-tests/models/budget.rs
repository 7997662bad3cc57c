//! The retry budget: tokens are neither lost nor spent twice.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use super::queue::Bell;
use super::{Model, mutation};
use crate::clock::Clock;
use crate::delivery::{Delivery, EventId, Journey};
use crate::error::Failure;
use crate::retry::{RetryBudget, RetryStrategy, Verdict, Withdrawal};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "budget_one_token_for_two",
        preemptions: None,
        run: one_token_for_two,
        mutations: &[mutation("budget_take_by_store")],
    },
    Model {
        name: "budget_deposits_add_up",
        preemptions: None,
        run: deposits_add_up,
        mutations: &[mutation("budget_deposit_by_store"), mutation("budget_token_put_back")],
    },
    Model {
        name: "budget_reserve_is_exact",
        preemptions: None,
        run: reserve_is_exact,
        mutations: &[mutation("budget_reserve_by_store")],
    },
];

/// One retry for each success, and so many in any case.
fn budget(min_per_second: u32) -> RetryBudget {
    RetryBudget::builder().ratio(1.0).min_per_second(min_per_second).max_tokens(2).build().unwrap()
}

fn with_delivery<R>(act: impl FnOnce(&Delivery<'_>) -> R) -> R {
    let (waker, clock) = (Waker::from(Arc::new(Bell::default())), Clock::system());
    act(&Delivery::resume_with(&waker, &clock, EventId(0), Journey::default()))
}

fn succeed(budget: &RetryBudget) {
    with_delivery(|delivery| budget.success(&mut Withdrawal::default(), delivery));
}

/// Whether a failed event is retried, and the token for that.
fn fail(budget: &RetryBudget) -> (bool, Withdrawal) {
    let mut withdrawal = Withdrawal::default();
    let failure = Failure::transient("told to fail");
    let verdict = with_delivery(|delivery| budget.failure(&mut withdrawal, delivery, &failure));
    (verdict == Verdict::Retry, withdrawal)
}

/// Two fail at once and there is one token: one of them is retried.
fn one_of_two(budget: &RetryBudget) {
    let other = {
        let budget = budget.clone();
        thread::spawn(move || fail(&budget))
    };
    let (mine, _mine) = fail(budget);
    let (theirs, _theirs) = other.join().unwrap();
    assert!(mine != theirs);
    assert_eq!(budget.refused(), 1);
}

fn one_token_for_two() {
    let budget = budget(0);
    succeed(&budget);
    one_of_two(&budget);
}

fn reserve_is_exact() {
    one_of_two(&budget(1));
}

/// A success while an event that was to be retried goes without: both tokens are there.
fn deposits_add_up() {
    let budget = budget(0);
    succeed(&budget);
    let other = {
        let budget = budget.clone();
        thread::spawn(move || {
            let (retried, withdrawal) = fail(&budget);
            assert!(retried);
            drop(withdrawal);
        })
    };
    succeed(&budget);
    other.join().unwrap();
    assert_eq!(budget.saved(), 2);
}
