//! The contract of a sink, as a check.

use std::sync::{Arc, mpsc};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::delivery::{Delivery, EventId, Frame, Journey};
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};

/// How long the check waits for a promised wake before it calls it lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks that a sink keeps the contract of [`Sink`]. `make` makes a fresh, working one each time; `event` is an event that it takes.
///
/// It checks that
///
/// 1. the id stays the same, and is the one seen through `&S`, `Box` and `Arc`;
/// 2. an event is taken in the end; a sink that is not ready names a time or wakes; a sink that took an event has saved nothing;
/// 3. the same holds inside a stage with one child and inside one with several, so that saved states do not get mixed up;
/// 4. an event given up in the middle does no harm to the next;
/// 5. every closer is woken, not only the last; closing twice is fine; a closed sink answers `Closed`, and stays closed.
///
/// ```
/// use sinkworks::{sink_fn, test_util::check_contract};
///
/// check_contract(|| sink_fn(|_: &u32| Ok(())), &1);
/// ```
///
/// # Panics
///
/// If the sink breaks the contract, with the rule that it breaks.
pub fn check_contract<E, S>(make: impl Fn() -> S, event: &E)
where
    E: ?Sized,
    S: Sink<E> + 'static,
{
    let sink = Arc::new(make());
    let id = Sink::<E>::id(&*sink);
    let as_dyn: &dyn Sink<E> = &sink;
    assert_eq!(id, as_dyn.id(), "rule 1: Arc must have the id of what it holds");
    assert_eq!(id, Sink::<E>::id(&&*sink), "rule 1: a reference must have the id of what it refers to");

    deliver(&*sink, event);
    deliver(&Nest(&*sink), event);
    deliver(&Fork(&*sink, &*sink), event);
    assert_eq!(id, Sink::<E>::id(&*sink), "rule 1: the id must not change");

    give_up(&*sink, event);
    deliver(&*sink, event);

    close(&*sink, event);

    // Never used, and closed in the strictest way.
    close_as(&make(), Shutdown::Abort);
    let boxed: Box<dyn Sink<E>> = Box::new(make());
    assert_eq!(boxed.id().is_some(), id.is_some(), "rule 1: a Box must have the id of what it holds");
    close(&*boxed, event);
}

/// Counts as a wake-up for the thread that drives.
struct Bell {
    tell: mpsc::Sender<()>,
}

impl Bell {
    fn new() -> (Arc<Self>, Waker, mpsc::Receiver<()>) {
        let (tell, told) = mpsc::channel();
        let bell = Arc::new(Self { tell });
        (bell.clone(), bell.into(), told)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // The driver may be gone: a late wake is allowed.
        self.tell.send(()).unwrap_or_default();
    }
}

fn deliver<E: ?Sized>(sink: &(impl Sink<E> + ?Sized), event: &E) {
    let (_, waker, told) = Bell::new();
    let clock = Clock::system();
    let mut journey = Journey::default();
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let mut delivery = Delivery::resume_with(&waker, &clock, EventId(0), journey);
        let answer = sink.try_write(event, &mut delivery);
        journey = delivery.into_journey();
        match answer {
            Ok(()) => break,
            Err(WriteError::NotReady(wait)) => {
                let rest = wait.until.map_or(PATIENCE, |at| at.saturating_duration_since(Instant::now()));
                let woken = told.recv_timeout(rest.min(PATIENCE)).is_ok();
                assert!(woken || wait.until.is_some(), "rule 2: not ready until woken, and never woken");
                assert!(Instant::now() < give_up_at, "rule 2: not ready for {PATIENCE:?}");
            }
            Err(error) => panic!("rule 2: a fresh, working sink answered {error:?}"),
        }
    }
    assert!(journey.is_at_start(), "rule 2: a sink that took the event must have saved nothing");
}

/// Offers an event once and forgets about it.
fn give_up<E: ?Sized>(sink: &impl Sink<E>, event: &E) {
    let (_, waker, _told) = Bell::new();
    let clock = Clock::system();
    let mut delivery = Delivery::resume_with(&waker, &clock, EventId(1), Journey::default());
    match sink.try_write(event, &mut delivery) {
        Ok(()) | Err(WriteError::NotReady(_)) => {}
        Err(error) => panic!("rule 4: a working sink answered {error:?}"),
    }
}

fn close<E: ?Sized>(sink: &(impl Sink<E> + ?Sized), event: &E) {
    close_as(sink, Shutdown::Drain);
    let (_, waker, _told) = Bell::new();
    let again = sink.poll_close(Shutdown::Drain, &waker);
    assert!(matches!(again, Poll::Ready(Ok(_))), "rule 5: closing again must be ready and fine");
    for _ in 0..2 {
        let answer = sink.try_write(event, &mut Delivery::from_thread());
        assert!(matches!(answer, Err(WriteError::Closed)), "rule 5: a closed sink answered {answer:?}");
    }
}

fn close_as<E: ?Sized>(sink: &(impl Sink<E> + ?Sized), how: Shutdown) {
    let bells = [Bell::new(), Bell::new()];
    let polled: Vec<_> = bells.iter().map(|(_, waker, _)| sink.poll_close(how, waker)).collect();
    for ((_, waker, told), mut answer) in bells.iter().zip(polled) {
        let give_up_at = Instant::now() + PATIENCE;
        while answer.is_pending() {
            let rest = give_up_at.saturating_duration_since(Instant::now());
            assert!(told.recv_timeout(rest).is_ok(), "rule 5: a closer was not woken");
            answer = sink.poll_close(how, waker);
        }
        assert!(matches!(answer, Poll::Ready(Ok(_))), "rule 5: a working sink must close: {answer:?}");
    }
}

/// A stage with one child and a state of its own.
struct Nest<'a, S>(&'a S);

struct NestState {
    mark: &'static str,
    below: Frame,
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for Nest<'_, S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut state = delivery.resume().unwrap_or_else(|| NestState { mark: "rule 3", below: Frame::default() });
        assert_eq!(state.mark, "rule 3");
        let answer = delivery.nest(&mut state.below, |delivery| self.0.try_write(event, delivery));
        if let Err(WriteError::NotReady(_)) = answer {
            delivery.save(state);
        }
        answer
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        self.0.id()
    }
}

/// A stage with two children, that calls again only the one which was not ready.
struct Fork<'a, S>(&'a S, &'a S);

impl<E: ?Sized, S: Sink<E>> Sink<E> for Fork<'_, S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let state: [Option<Journey>; 2] =
            delivery.resume().unwrap_or_else(|| [Some(Journey::default()), Some(Journey::default())]);
        let mut answer = Ok(());
        let mut rest = [None, None];
        for ((journey, sink), rest) in state.into_iter().zip([self.0, self.1]).zip(&mut rest) {
            let Some(mut journey) = journey else { continue };
            match delivery.fork(&mut journey, |delivery| sink.try_write(event, delivery)) {
                Ok(()) => {}
                Err(WriteError::NotReady(wait)) => {
                    *rest = Some(journey);
                    let wait = match answer {
                        Err(WriteError::NotReady(other)) => wait.earlier(other),
                        _ => wait,
                    };
                    answer = Err(WriteError::NotReady(wait));
                }
                Err(error) => return Err(error),
            }
        }
        if answer.is_err() {
            delivery.save(rest);
        }
        answer
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        self.0.id()
    }
}
