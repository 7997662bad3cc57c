//! What must hold: at any moment, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use sinkworks::{Broadcaster, CloseReport, DropReason, Ledger, Queue, Receiver, Sink};

use crate::plan::Policy;
use crate::probe::{Key, Tally};
use crate::world::{ChannelSite, FallbackSite, FanSite, QueueSite, World};

impl World {
    /// At any moment. While events move, the newest of a ledger's pending ones may have left just now: only `at_rest` are they within the bound.
    pub(crate) fn check_now(&self, at_rest: bool) {
        for site in &self.queues {
            let Some(queue) = &site.queue else { continue };
            let ledger = queue.ledger();
            assert!(ledger.balances(), "{ledger:?}");
            let bound = site.options.capacity.unwrap_or(u64::MAX);
            assert!(!at_rest || ledger.pending <= bound, "{ledger:?}");
            assert!(queue.high_water() <= bound, "a high-water mark of {}, {ledger:?}", queue.high_water());
            let (bytes, bound) = (queue.bytes().unwrap_or(0), site.options.bytes.unwrap_or(u64::MAX));
            assert!(bytes <= bound, "{bytes} bytes of {bound}");
        }
    }

    /// When everything has ended.
    pub(crate) fn check(&self, report: Option<&CloseReport>) {
        for site in &self.queues {
            site.check(self.threaded);
            let known = site.queue.as_ref().and_then(|queue| report?.component(queue.id()?));
            if let (Some(queue), Some(known)) = (&site.queue, known) {
                check_report(&known.ledger, &queue.ledger(), site.options.batch.map_or(1, |(events, _)| events as u64));
            }
        }
        for site in &self.channels {
            site.check(self.threaded);
        }
        for site in &self.fallbacks {
            site.check();
        }
        for site in &self.fans {
            if let Some(fan) = &site.fan {
                site.check(fan);
            }
        }
        for (leaf, above) in &self.leaves {
            let (taken, answers_lost) = leaf.taken();
            let above = above.tally();
            assert_eq!(taken.len(), above.ok.len() + answers_lost, "effects against answers");
            let first: Vec<Key> = distinct(&taken);
            // An event that is repeated comes after those of its batch that were taken at once.
            let batches = self.queues.iter().any(|site| site.options.batch.is_some_and(|(events, _)| events > 1));
            if !self.threaded && !batches {
                assert!(in_order(&first), "first effects, writer by writer: {first:?}");
            }
            let is_part = batches || is_subsequence_each(&above.ok, &first);
            assert!(is_part, "{:?} out of {first:?}", above.ok);
        }
    }
}

/// What a report says, and what has become of it. Events that it calls in flight may have ended either way.
fn check_report(reported: &Ledger, ledger: &Ledger, in_flight: u64) {
    assert!(reported.balances() && reported.pending <= in_flight, "{reported:?}");
    assert_eq!(reported.accepted, ledger.accepted, "{reported:?} {ledger:?}");
    let more = ledger.delivered - reported.delivered;
    assert!(more <= reported.pending, "{reported:?} {ledger:?}");
    assert_eq!(ledger.dropped.total() - reported.dropped.total(), reported.pending - more, "{reported:?} {ledger:?}");
}

impl QueueSite {
    fn check(&self, threaded: bool) {
        let (above, below) = (self.above.tally().clone(), self.below.tally().clone());
        let context = || format!("above {above:?}\nbelow {below:?}\n{:?} {:?}", self.queue, self.options);
        assert!(is_once(&above.ok) && is_once(&below.ok), "an event twice\n{}", context());
        let ordered = if threaded { is_subsequence_each } else { is_subsequence };
        // An event that is repeated comes after those of its batch that were taken at once.
        let is_ordered = self.options.batch.is_some_and(|(events, _)| events > 1) || ordered(&below.ok, &above.ok);
        assert!(is_ordered, "out of order\n{}", context());
        if let Some(queue) = &self.queue {
            self.check_ledger(queue, &above, &below, &context());
        }
        let Some((_, letters)) = &self.letters else { return };
        let letters = letters.events();
        let mut ended: Vec<Key> = letters.iter().map(|letter| letter.event.key).chain(below.ok.clone()).collect();
        let mut accepted = above.ok.clone();
        ended.sort_unstable();
        accepted.sort_unstable();
        assert_eq!(ended, accepted, "delivered or dropped, once, is what was accepted\n{}", context());
        let mut reasons = BTreeMap::new();
        for letter in &letters {
            *reasons.entry(letter.reason).or_insert(0) += 1;
        }
        if let Some(queue) = &self.queue {
            let counted = DropReason::ALL.map(|reason| (reason, queue.ledger().dropped[reason]));
            let counted: BTreeMap<_, _> = counted.into_iter().filter(|(_, events)| *events > 0).collect();
            assert_eq!(reasons, counted, "letters against counts\n{}", context());
            assert_eq!(queue.dead_letters_lost(), 0);
        }
    }

    fn check_ledger(&self, queue: &Queue<crate::probe::Event>, above: &Tally, below: &Tally, context: &str) {
        let ledger = queue.ledger();
        assert!(ledger.balances() && ledger.pending == 0, "{context}");
        let counted = (ledger.accepted, ledger.delivered);
        assert_eq!(counted, (above.ok.len() as u64, below.ok.len() as u64), "accepted, delivered\n{context}");
        if self.options.policy != Policy::Disconnect {
            let drops = matches!(self.options.policy, Policy::DropNewest | Policy::DropOldest);
            assert_eq!(queue.refused(), if drops { 0 } else { above.full }, "refused\n{context}");
        }
        assert_eq!(queue.bytes().unwrap_or(0), 0, "bytes\n{context}");
        if self.options.batch.is_some() {
            // The retry of the batches is between the queue and what has noted the answers below.
            return;
        }
        let dropped = ledger.dropped;
        assert_eq!(dropped[DropReason::Permanent], below.permanent, "{context}");
        assert_eq!(dropped[DropReason::Exhausted], below.transient + below.exhausted, "{context}");
        assert_eq!(dropped[DropReason::Panicked], below.panicked, "{context}");
        assert!(dropped[DropReason::DestinationClosed] >= below.closed, "{context}");
        if below.closed == 0 {
            assert_eq!(dropped[DropReason::DestinationClosed], 0, "{context}");
        }
        let drops = matches!(self.options.policy, Policy::DropNewest | Policy::DropOldest);
        if drops {
            assert!(dropped[DropReason::Overflow] >= below.full, "{context}");
        } else {
            assert_eq!(dropped[DropReason::Overflow], below.full, "{context}");
        }
    }
}

impl ChannelSite {
    fn check(&self, threaded: bool) {
        let above = self.above.tally().clone();
        let context = || format!("above {above:?}\nread {:?}\n{:?} {:?}", self.read, self.channel, self.receiver);
        let events: Vec<Key> = self.read.iter().filter_map(|read| read.ok()).collect();
        let missed: u64 = self.read.iter().filter_map(|read| read.err()).sum();
        let ordered = if threaded { is_subsequence_each } else { is_subsequence };
        assert!(is_once(&above.ok) && ordered(&events, &above.ok), "{}", context());
        if self.receiver.is_some() {
            assert_eq!(events.len() as u64 + missed, above.ok.len() as u64, "events and gaps\n{}", context());
            if !threaded {
                // Each gap is where its events would have been.
                let mut written = above.ok.iter();
                for read in &self.read {
                    match read {
                        Ok(event) => assert_eq!(written.next(), Some(event), "{}", context()),
                        Err(missed) => written = written.as_slice()[usize::try_from(*missed).unwrap()..].iter(),
                    }
                }
            }
        }
        let ledger = (self.channel.as_ref().map(sinkworks::Channel::ledger))
            .or_else(|| self.receiver.as_ref().map(Receiver::ledger));
        let Some(ledger) = ledger else { return };
        assert!(ledger.balances() && ledger.pending == 0, "{}", context());
        let counted = (ledger.accepted, ledger.delivered);
        assert_eq!(counted, (above.ok.len() as u64, events.len() as u64), "{}", context());
        if self.receiver.is_some() {
            assert_eq!(ledger.dropped[DropReason::Overflow], missed, "{}", context());
            assert_eq!(ledger.dropped.total(), missed, "{}", context());
        }
    }
}

impl FallbackSite {
    fn check(&self) {
        let (above, first, second) = (self.above.tally(), self.first.tally(), self.second.tally());
        let context = || format!("above {above:?}\nfirst {first:?}\nsecond {second:?}");
        if let Some(fallen_over) = &self.fallen_over {
            assert_eq!(fallen_over(), second.ok.len() as u64, "{}", context());
        }
        // What one of them has taken is taken, and by no other.
        let mut taken: Vec<Key> = first.ok.iter().chain(&second.ok).copied().collect();
        let mut ok = above.ok.clone();
        taken.sort_unstable();
        ok.sort_unstable();
        assert_eq!(taken, ok, "{}", context());
        assert!(second.offered.is_subset(&first.offered) && first.offered.is_subset(&above.offered), "{}", context());
    }
}

impl FanSite {
    fn check(&self, fan: &Broadcaster<crate::probe::Event>) {
        let above = self.above.tally().clone();
        let written = above.offered.len() as u64 - above.closed;
        let sum = |of: fn(&Tally) -> u64| {
            let children = self.children.iter().filter(|child| !child.required);
            children.map(|child| of(&child.record.tally())).sum::<u64>()
        };
        let children: Vec<_> = self.children.iter().map(|child| child.record.tally().clone()).collect();
        let context = || format!("above {above:?}\nchildren {children:?}\n{fan:?}");
        assert_eq!(fan.writes(), written, "{}", context());
        let lost = fan.lost();
        assert_eq!(lost[DropReason::Permanent], sum(|tally| tally.permanent), "{}", context());
        assert_eq!(lost[DropReason::Exhausted], sum(|tally| tally.transient + tally.exhausted), "{}", context());
        assert_eq!(lost[DropReason::Overflow], sum(|tally| tally.full), "{}", context());
        assert_eq!(lost[DropReason::Panicked], sum(|tally| tally.panicked), "{}", context());
        assert_eq!(lost[DropReason::DestinationClosed], sum(|tally| tally.closed), "{}", context());
        assert!(fan.evictions() <= lost[DropReason::DestinationClosed], "{}", context());
        for child in &self.children {
            let tally = child.record.tally();
            assert!(is_once(&tally.ok), "{}", context());
            assert!(tally.offered.is_subset(&above.offered), "{}", context());
            if child.constant && (child.required || tally.closed == 0) {
                assert_eq!(tally.offered.len() as u64, written, "every event to every sink\n{}", context());
            }
        }
    }
}

fn is_once(events: &[Key]) -> bool {
    events.iter().collect::<BTreeSet<_>>().len() == events.len()
}

fn distinct(events: &[Key]) -> Vec<Key> {
    let mut seen = BTreeSet::new();
    events.iter().copied().filter(|event| seen.insert(*event)).collect()
}

/// Whether each writer's events come in their order.
fn in_order(events: &[Key]) -> bool {
    let mut last = BTreeMap::new();
    events.iter().all(|(writer, number)| last.insert(*writer, *number).is_none_or(|before| before < *number))
}

fn is_subsequence(part: &[Key], whole: &[Key]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|event| whole.any(|other| other == event))
}

/// The same for each writer's events, whatever the order of writers.
fn is_subsequence_each(part: &[Key], whole: &[Key]) -> bool {
    let of = |events: &[Key], writer| events.iter().copied().filter(|(by, _)| *by == writer).collect::<Vec<_>>();
    let writers: BTreeSet<u8> = part.iter().map(|(writer, _)| *writer).collect();
    writers.into_iter().all(|writer| is_subsequence(&of(part, writer), &of(whole, writer)))
}
