//! A mailbox's turn: deliver a budget of events in order, one at a time, and leave the run word as the next wake needs it.

use std::task::Poll;
use std::time::Instant;

use super::batch;
use super::mailbox::{Drain, Held, Mailbox};
use super::pace::Pace;
use crate::block;
use crate::contain::contain;
use crate::dead_letter::Circumstances;
use crate::delivery::{Delivery, EventId, Journey};
use crate::error::{Class, WriteError};
use crate::intake::Parcel;
use crate::ledger::DropReason;
use crate::pool::Turn;
use crate::shutdown::Shutdown;
use crate::sync::{Backoff, lock, mutation};

/// Why the delivery stopped.
pub(super) enum Stop {
    /// Nothing is there.
    Empty,
    /// The first event waits.
    Hold,
    /// Others first.
    Spent,
}

pub(super) fn turn<E: Send + 'static>(mailbox: &Mailbox<E>, began: Instant) -> Turn {
    // Waits only for a closer that abandons what is here; two turns never meet.
    let mut drain = lock(mailbox.drain());
    block::in_turn(&mailbox.waker, || {
        let backoff = Backoff::new();
        let mut pace = Pace::new(&mailbox.timing, mailbox.clock(), began);
        loop {
            let (run, intake) = (&mailbox.ready().run, &mailbox.entrance.intake);
            run.look();
            intake.wake_up();
            let delivered = drain.delivered;
            let stop = deliver(mailbox, &mut drain, &mut pace);
            // Before a close answers: who has its report finds the time.
            if drain.delivered > delivered {
                mailbox.timing.note_delivery(pace.latest());
            }
            let ended = match stop {
                Stop::Spent if mutation!("queue_spent_is_done") => return Turn::Done,
                Stop::Spent => return Turn::Again,
                Stop::Hold => mailbox.lie_down(|| run.hold()),
                Stop::Empty if intake.is_drained() => match mailbox.close_drained(&mut drain) {
                    // The run word stays active: nobody posts this mailbox again.
                    Poll::Ready(()) => return Turn::Done,
                    Poll::Pending => mailbox.lie_down(|| run.hold()),
                },
                Stop::Empty if intake.fall_asleep(drain.inside()) => mailbox.lie_down(|| run.rest()),
                // A writer has taken its place and not pushed yet, unless it was interrupted in between: a few instructions, or a wake for who waits for bytes. Others have
                // their turn meanwhile.
                Stop::Empty if backoff.is_completed() => return Turn::Again,
                Stop::Empty => {
                    if intake.is_sealed() {
                        // Nothing is being offered: who aborts now has nothing in flight.
                        intake.end_offer();
                    }
                    while intake.is_empty() && !backoff.is_completed() {
                        backoff.snooze();
                    }
                    false
                }
            };
            if ended {
                return Turn::Done;
            }
        }
    })
}

fn deliver<E: Send + 'static>(mailbox: &Mailbox<E>, drain: &mut Drain<E>, pace: &mut Pace<'_>) -> Stop {
    let intake = &mailbox.entrance.intake;
    let (entered, gone) = intake.look_at_depth();
    pace.look_for_mark(&mut drain.mark, entered, gone);
    let sealed = intake.is_sealed() && !mutation!("queue_turn_knows_it_is_closed");
    let how = if sealed { mailbox.how() } else { None };
    if how == Some(Shutdown::Abort) && !mutation!("queue_turn_sees_the_deadline") {
        intake.abort();
    }
    // Whether it is aborted is asked for each event: an abort is a close, so `sealed` is true by then. Where both come after that look, this turn offers one
    // event more, and the closer counts it as in flight.
    if let Some(batches) = &mailbox.batches {
        return batch::deliver(mailbox, batches, drain, how, sealed, pace);
    }
    loop {
        let is_usual = drain.held.is_none() && !sealed && !drain.destination_closed;
        let (parcel, tried, offer) = if is_usual {
            match run_through(mailbox, drain, pace) {
                Run::Over(stop) => return stop,
                Run::Aborted => return abandon(mailbox, drain),
                Run::Interrupted(parcel, answer, journey) => (parcel, 0, judge(mailbox, drain, false, answer, journey)),
            }
        } else {
            let (parcel, journey) = match drain.held.take() {
                Some(held) => (held.parcel, held.journey),
                None => match intake.pop() {
                    Some(parcel) => (parcel, Journey::default()),
                    None => return Stop::Empty,
                },
            };
            // Only a closed queue says when it offers: an abort is a close.
            if sealed && !intake.begin_offer() && !mutation!("queue_offer_sees_abort") {
                drain.held = Some(Box::new(Held { parcel, journey }));
                return abandon(mailbox, drain);
            }
            let tried = attempts(&journey);
            let offer = offer(mailbox, drain, how, &parcel, journey);
            (parcel, tried, offer)
        };
        match offer {
            Offer::Delivered => mailbox.deliver(drain, parcel, sealed),
            Offer::Dropped(reason, what) => mailbox.lose(parcel, reason, what, sealed),
            Offer::NotReady(until, journey) => {
                pace.stop_waiting(attempts(&journey) > tried);
                drain.held = Some(Box::new(Held { parcel, journey }));
                if sealed && !mutation!("queue_held_is_quiet") {
                    intake.end_offer();
                }
                mailbox.set_timer(drain, until);
                return Stop::Hold;
            }
        }
        if intake.is_aborted() && !mutation!("queue_turn_sees_abort") {
            return abandon(mailbox, drain);
        }
        if pace.spend(drain) {
            return Stop::Spent;
        }
    }
}

/// How far the usual case went.
enum Run<E> {
    Over(Stop),
    Aborted,
    /// By an event to which the destination has not just said yes: what it answered, `None` for a panic, and what is left of the journey.
    Interrupted(Parcel<E>, Option<Result<(), WriteError>>, Journey),
}

/// The usual case: new events of an open queue, which the destination takes at once. One delivery and one catch serve all of them, since making these
/// costs more than a trivial sink.
fn run_through<E: Send + 'static>(mailbox: &Mailbox<E>, drain: &mut Drain<E>, pace: &mut Pace<'_>) -> Run<E> {
    let intake = &mailbox.entrance.intake;
    let mut id = intake.left();
    let mut delivery = Delivery::resume_with(&mailbox.waker, mailbox.clock(), EventId(id), Journey::default());
    // Outside the catch: a panic must not take the event along.
    let mut offered = None;
    let run = contain(|| {
        loop {
            let Some(parcel) = intake.pop() else { return Run::Over(Stop::Empty) };
            delivery.go_on_with(EventId(id), parcel.note.accepted);
            let parcel = offered.insert(parcel);
            let answer = mailbox.sink.try_write(&parcel.event, &mut delivery);
            let Some(parcel) = offered.take() else { continue };
            if answer.is_err() | !delivery.is_fresh() {
                return Run::Interrupted(parcel, Some(answer), delivery.take_journey());
            }
            id += 1;
            mailbox.deliver(drain, parcel, false);
            if intake.is_aborted() && !mutation!("queue_turn_sees_abort") {
                return Run::Aborted;
            }
            if pace.spend(drain) {
                return Run::Over(Stop::Spent);
            }
        }
    });
    match (run, offered) {
        (Some(run), _) => run,
        (None, Some(parcel)) => Run::Interrupted(parcel, None, delivery.into_journey()),
        // The drop of an event that was delivered.
        (None, None) => {
            mailbox.note_drop_panic();
            Run::Over(Stop::Spent)
        }
    }
}

/// Attempts of this event that have failed.
pub(super) fn attempts(journey: &Journey) -> u32 {
    journey.history().map_or(0, |history| history.attempts)
}

/// It is aborted.
pub(super) fn abandon<E: Send + 'static>(mailbox: &Mailbox<E>, drain: &mut Drain<E>) -> Stop {
    if !mutation!("queue_abandoning_is_quiet") {
        mailbox.entrance.intake.end_offer();
    }
    mailbox.abandon(drain);
    Stop::Empty
}

/// What became of one offer.
enum Offer {
    Delivered,
    Dropped(DropReason, Circumstances),
    NotReady(Option<Instant>, Journey),
}

fn offer<E: Send + 'static>(
    mailbox: &Mailbox<E>,
    drain: &mut Drain<E>,
    how: Option<Shutdown>,
    parcel: &Parcel<E>,
    journey: Journey,
) -> Offer {
    if drain.destination_closed && !mutation!("queue_offers_nothing_to_a_closed_sink") {
        return Offer::Dropped(DropReason::DestinationClosed, settled(journey, 0));
    }
    let id = EventId(mailbox.entrance.intake.left());
    let last = how == Some(Shutdown::Drain);
    let mut delivery =
        Delivery::resume_with(&mailbox.waker, mailbox.clock(), id, journey).with_accepted_at(parcel.note.accepted);
    if last {
        delivery = delivery.last_offer();
    }
    let answer = contain(|| mailbox.sink.try_write(&parcel.event, &mut delivery));
    let journey = delivery.into_journey();
    judge(mailbox, drain, last, answer, journey)
}

/// What an answer comes to; `None` is a panic.
fn judge<E: Send + 'static>(
    mailbox: &Mailbox<E>,
    drain: &mut Drain<E>,
    last: bool,
    answer: Option<Result<(), WriteError>>,
    mut journey: Journey,
) -> Offer {
    match answer {
        Some(Ok(())) => {
            // The usual journey has nothing in it.
            if !journey.is_at_start() {
                settled(journey, 0);
            }
            Offer::Delivered
        }
        Some(Err(WriteError::NotReady(_))) if last => Offer::Dropped(DropReason::Abandoned, settled(journey, 0)),
        Some(Err(WriteError::NotReady(wait))) => Offer::NotReady(wait.until, journey),
        Some(Err(WriteError::Closed)) => {
            // Nothing that is written here can arrive any more: say so upstream.
            drain.destination_closed = true;
            mailbox.begin_close(Shutdown::Drain);
            Offer::Dropped(DropReason::DestinationClosed, settled(journey, 1))
        }
        Some(Err(WriteError::Full)) => Offer::Dropped(DropReason::Overflow, settled(journey, 1)),
        Some(Err(WriteError::Failed(failure))) => {
            let reason = match failure.class() {
                Class::Permanent => DropReason::Permanent,
                Class::Transient | Class::Exhausted => DropReason::Exhausted,
            };
            // Where no stage repeats, none has noted the failure.
            journey.record_first(&failure, mailbox.clock());
            Offer::Dropped(reason, settled(journey, 0))
        }
        None => {
            mailbox.note_panic();
            Offer::Dropped(DropReason::Panicked, settled(journey, 1))
        }
    }
}

/// What is left of the journey of an event that is done with. What stages have saved ends here, and that is the user's code too.
pub(super) fn settled(journey: Journey, unrecorded: u32) -> Circumstances {
    let history = contain(|| journey.into_history()).flatten();
    Circumstances { history, accepted: None, unrecorded }
}
