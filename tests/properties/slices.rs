//! A sink of batches over a stage that takes one event at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

use sinkworks::{
    BatchError, Class, CloseError, CloseReport, Delivery, Failure, Journey, Shutdown, Sink, Wait, WriteError,
};

use crate::probe::Event;
use crate::world::Stage;

/// Offers each event of a batch to the stage, and answers for each. A panic is an event's failure and no more, so that the books say what has become of each.
pub(crate) struct OneByOne(pub(crate) Stage);

#[derive(Default)]
struct One {
    journey: Journey,
    outcome: Option<Result<(), Failure>>,
    not_ready: bool,
}

impl One {
    fn is_open(&self, attempt_goes_on: bool) -> bool {
        match &self.outcome {
            _ if attempt_goes_on => self.not_ready,
            None => true,
            Some(outcome) => outcome.as_ref().is_err_and(|failure| failure.class() == Class::Transient),
        }
    }
}

impl Sink<[Event]> for OneByOne {
    fn try_write(&self, events: &[Event], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut all: Vec<One> = delivery.resume().unwrap_or_else(|| events.iter().map(|_| One::default()).collect());
        let goes_on = all.iter().any(|one| one.not_ready);
        let (mut wait, mut news): (Option<Wait>, _) = (None, false);
        for (one, event) in all.iter_mut().zip(events).filter(|(one, _)| one.is_open(goes_on)) {
            one.not_ready = false;
            let write = || delivery.fork(&mut one.journey, |delivery| self.0.try_write(event, delivery));
            one.outcome = Some(match catch_unwind(AssertUnwindSafe(write)) {
                Ok(Err(WriteError::NotReady(other))) => {
                    wait = Some(wait.map_or(other, |wait| wait.earlier(other)));
                    one.not_ready = true;
                    Err(Failure::transient("not ready"))
                }
                Ok(Ok(())) => {
                    news = true;
                    Ok(())
                }
                Ok(Err(WriteError::Failed(failure))) => Err(failure),
                Ok(Err(WriteError::Closed)) => Err(Failure::permanent("closed")),
                Ok(Err(error)) => Err(Failure::transient(error)),
                Err(_) => Err(Failure::permanent("a panic")),
            });
        }
        let answer = BatchError::check(all.iter().map(|one| one.outcome.clone().unwrap_or(Ok(()))).collect());
        if let (Some(wait), Err(WriteError::Failed(failure))) = (wait, &answer) {
            if news {
                // So that the queue knows, if this is given up.
                delivery.record(failure);
            }
            delivery.save(all);
            return Err(WriteError::NotReady(wait));
        }
        if matches!(&answer, Err(WriteError::Failed(failure)) if failure.class() == Class::Transient) {
            delivery.save(all);
        }
        answer
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }
}
