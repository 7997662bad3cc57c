//! The audit: the ledgers against the receiver's log, and every duplicate against its reason.

use std::collections::BTreeMap;

use sinkworks::{CloseReport, Ledger, RetryStats, Sink};

use crate::pipeline::{Lane, Outcome, Pipeline};
use crate::proxy::{Fate, Proxied};
use crate::receiver::Log;
use crate::wire::Event;

/// What is known of one event from all sides.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Story {
    /// How often it reached the receiver.
    pub(crate) arrived: u64,
    pub(crate) acknowledged: u64,
    /// Of its arrivals, those whose answer the proxy let pass in time, and the others.
    pub(crate) passed: u64,
    pub(crate) lost: u64,
    /// Attempts that the webhook answered with `Ok`, with a timeout, and otherwise.
    pub(crate) delivered: u64,
    pub(crate) timed_out: u64,
    pub(crate) failed: u64,
}

/// A queue's events, and what its own books say of them.
pub(crate) struct Account {
    pub(crate) reported: Ledger,
    pub(crate) ledger: Ledger,
    pub(crate) stats: RetryStats,
    pub(crate) stories: BTreeMap<u64, Story>,
    /// The numbers in the order in which they first arrived.
    first_arrivals: Vec<u64>,
}

/// Everything, when everything has come to rest.
pub(crate) struct Audit {
    pub(crate) accounts: Vec<Account>,
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
}

impl Audit {
    pub(crate) fn new(pipeline: &Pipeline, report: &CloseReport, proxied: &Proxied, log: &Log) -> Self {
        let account = |lane: &Lane| {
            let id = lane.queue.id().unwrap();
            Account {
                reported: report.component(id).expect("an entry for each queue").ledger,
                ledger: lane.queue.ledger(),
                stats: lane.retry.stats(),
                stories: BTreeMap::new(),
                first_arrivals: Vec::new(),
            }
        };
        let mut accounts: Vec<_> = pipeline.lanes.iter().map(account).collect();
        let mut outcomes = BTreeMap::new();
        for event in &log.arrived {
            let account = &mut accounts[event.queue];
            let story = account.stories.entry(event.number).or_default();
            story.arrived += 1;
            if story.arrived == 1 {
                account.first_arrivals.push(event.number);
            }
        }
        let mut story = |event: &Event, tell: &dyn Fn(&mut Story)| {
            tell(accounts[event.queue].stories.entry(event.number).or_default());
        };
        for event in &log.acknowledged {
            story(event, &|story| story.acknowledged += 1);
        }
        for (event, fate) in &proxied.fates {
            story(event, &|story| *(if *fate == Fate::Passed { &mut story.passed } else { &mut story.lost }) += 1);
        }
        for (event, outcome) in pipeline.attempts.lock().unwrap().iter() {
            *outcomes.entry(*outcome).or_default() += 1;
            story(event, &|story| {
                *(match outcome {
                    Outcome::Delivered => &mut story.delivered,
                    Outcome::Timeout => &mut story.timed_out,
                    _ => &mut story.failed,
                }) += 1;
            });
        }
        Self { accounts, outcomes }
    }

    pub(crate) fn sum(&self, of: impl Fn(&Account) -> u64) -> u64 {
        self.accounts.iter().map(of).sum()
    }

    /// What holds of every run, however it was ended: no event counts as delivered that the receiver has not, no event comes out of its
    /// turn, and there is no duplicate without an answer that was lost.
    pub(crate) fn check(&self) {
        for (number, account) in self.accounts.iter().enumerate() {
            let ledger = account.ledger;
            assert!(account.reported.balances() && ledger.balances(), "queue {number}: {account:?}");
            assert_eq!(ledger.pending, 0, "queue {number}: {account:?}");
            // Nothing is dropped before the end, so the delivered ones are the first.
            let without = |flaw: fn(&Story) -> bool| {
                let stories = (0..ledger.delivered).map(|event| (event, account.story(event)));
                stories.filter(|(_, story)| flaw(story)).collect::<Vec<_>>()
            };
            let missing = without(|story| story.acknowledged == 0);
            assert!(missing.is_empty(), "queue {number}: delivered, but not in the receiver's log: {missing:?}");
            let not_once = without(|story| story.delivered != 1);
            assert!(not_once.is_empty(), "queue {number}: delivered, but not by one attempt: {not_once:?}");
            for (event, story) in account.stories.range(ledger.delivered..) {
                assert!(*event < ledger.accepted, "queue {number}: {event} was never written: {story:?}");
                assert_eq!(story.delivered, 0, "queue {number}: {event} was not counted as delivered: {story:?}");
                // What was given up may have arrived, but only if the client did not get the answer.
                assert!(
                    story.passed <= story.timed_out,
                    "queue {number}: the answer for {event} came, and it was given up: {story:?}"
                );
            }
            let in_turn = (0..).zip(&account.first_arrivals).all(|(expected, arrived)| expected == *arrived);
            assert!(in_turn, "queue {number}: first arrivals out of order: {:?}", account.first_arrivals);
            account.check_duplicates(number);
            assert_eq!(account.stats.ok, ledger.delivered, "queue {number}: {account:?}");
            assert_eq!(account.stats.permanent, 0, "queue {number}: {account:?}");
        }
    }
}

impl Account {
    /// Nothing of an event of which nothing is known.
    fn story(&self, event: u64) -> Story {
        self.stories.get(&event).copied().unwrap_or_default()
    }

    fn check_duplicates(&self, number: usize) {
        for (event, story) in &self.stories {
            assert_eq!(story.arrived, story.passed + story.lost, "queue {number}: {event} by another way: {story:?}");
            assert!(
                story.arrived <= story.delivered + story.timed_out + story.failed,
                "queue {number}: {event} arrived more often than it was sent: {story:?}"
            );
            // An answer that passed the proxy in time ends the event, unless the client's own thread was so late that it timed out.
            assert!(
                story.passed <= 1 + story.timed_out,
                "queue {number}: {event} was sent again without a reason: {story:?}"
            );
        }
        assert!(
            self.duplicates() <= self.stats.retries,
            "queue {number}: {} duplicates, {:?}",
            self.duplicates(),
            self.stats
        );
    }

    pub(crate) fn distinct(&self) -> u64 {
        self.first_arrivals.len() as u64
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.stories.values().map(|story| story.arrived.saturating_sub(1)).sum()
    }
}

/// The books, without the stories: there are thousands.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("reported", &self.reported)
            .field("ledger", &self.ledger)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
