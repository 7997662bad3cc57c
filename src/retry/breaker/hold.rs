//! Who is held, and who probes.
//!
//! **Invariants.** While the breaker is half-open at most `probes` leases are out. A lease ends with the probe's answer, with the drop of the event's
//! state, or at its timeout; so half-open always ends. Who is turned away keeps its waker in a list: as many as there are probes (the heralds) are told
//! the time when the breaker may be asked again, the others a time after that, so that a thousand held queues do not all come at once. Closing wakes
//! one of the list, the next success two, then four. Everyone who is held was told some time and asks again then, so that nobody is forgotten if
//! those who are woken never answer.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::machine::{Cold, Locked, Machine, Woken};
use super::permit::{Lease, Permit, Place};
use super::state::{CLOSED, FORCED, HALF_OPEN, OPEN, STATE};
use crate::clock::saturating_add;
use crate::delivery::Delivery;
use crate::error::Wait;
use crate::retry::strategy::Proceed;
use crate::sync::mutation;

impl Machine {
    /// Asked while not closed.
    #[cold]
    pub(super) fn ask(self: &Arc<Self>, permit: &mut Permit, delivery: &Delivery<'_>) -> Proceed {
        let (now, waker) = (delivery.now(), delivery.waker());
        let mut cold = self.cold();
        match self.word() & STATE {
            CLOSED if !mutation!("breaker_hold_looks_again") => {
                drop(cold);
                permit.pass(None);
                return Proceed::Now;
            }
            FORCED => {
                // Asked again at times, though it changes nothing: when this ends, whoever is woken first may never answer.
                let again = saturating_add(now, self.probe_timeout);
                return self.hold(cold, permit, waker, |_, _| again);
            }
            OPEN => match cold.until {
                Some(until) if now < until && !mutation!("breaker_open_until") => {
                    return self.hold_until(cold, permit, waker, until);
                }
                _ => self.enter(HALF_OPEN),
            },
            _ => {}
        }
        if !mutation!("breaker_lease_ends") {
            cold.leases.retain(|(_, ends)| *ends > now);
        }
        if cold.leases.len() >= self.probes && !mutation!("breaker_probe_count") {
            let ends = cold.leases.iter().map(|(_, ends)| *ends).min();
            return self.hold_until(cold, permit, waker, ends.unwrap_or(now));
        }
        let id = cold.next_lease;
        cold.next_lease += 1;
        cold.leases.push((id, saturating_add(now, self.probe_timeout)));
        // Somebody else is told when this probe must have ended.
        let woken = self.retire_herald(&mut cold, permit.key());
        drop(cold);
        permit.pass(Some(Lease::new(self.clone(), id)));
        woken.wake();
        Proceed::Now
    }

    /// The first ones are told `until`; the rest count on a wake, and come by themselves only after every probe must have ended.
    fn hold_until(self: &Arc<Self>, cold: Locked<'_>, permit: &mut Permit, waker: Waker, until: Instant) -> Proceed {
        self.hold(cold, permit, waker, |cold, key| {
            let known = cold.heralds.contains(&key);
            if !known && cold.heralds.len() < self.probes {
                cold.heralds.push(key);
                return until;
            }
            if known { until } else { saturating_add(until, self.probe_timeout) }
        })
    }

    /// Puts the asker into the list, to come again at the time that `told` says for its key.
    fn hold(
        self: &Arc<Self>,
        mut cold: Locked<'_>,
        permit: &mut Permit,
        waker: Waker,
        told: impl FnOnce(&mut Cold, u64) -> Instant,
    ) -> Proceed {
        let place = permit.place.get_or_insert_with(|| Place { ticket: None, breaker: self.clone() });
        let replaced = self.held.register(&mut place.ticket, waker);
        let told = told(&mut cold, permit.key().unwrap_or(0));
        drop(cold);
        drop(replaced);
        Proceed::Wait(Wait { until: Some(told) })
    }

    fn retire_herald(&self, cold: &mut Cold, key: Option<u64>) -> Woken {
        let Some(index) = cold.heralds.iter().position(|herald| Some(*herald) == key) else { return Woken::default() };
        cold.heralds.swap_remove(index);
        Woken(self.held.pop(1))
    }

    /// One of the held has gone: if it was told when to come, another is asked to come for it.
    pub(super) fn replace_herald(&self, key: u64) {
        let woken = self.retire_herald(&mut self.cold(), Some(key));
        woken.wake();
    }

    /// A probe's event is gone without an answer.
    pub(super) fn lose(&self, id: u64) {
        let mut cold = self.cold();
        let before = cold.leases.len();
        cold.leases.retain(|(out, _)| *out != id);
        let woken = if cold.leases.len() < before && !mutation!("breaker_lost_probe_wakes") {
            Woken(self.held.pop(1))
        } else {
            Woken::default()
        };
        drop(cold);
        woken.wake();
    }
}
