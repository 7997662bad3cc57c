//! Queues that lead back to each other, closed from two sides: neither close waits for itself, and both queues end.

use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use loom::thread;

use super::queue::close;
use super::{Model, mutation};
use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::Sink;

pub(super) const MODELS: &[Model] = &[Model {
    name: "cycle_closed_from_two_sides",
    preemptions: Some(1),
    run: closed_from_two_sides,
    mutations: &[mutation("cycle_question_is_passed_on"), mutation("cycle_answer_goes_up")],
}];

/// A queue that is known only when the one in front of it has been built. Takes every event itself.
#[derive(Clone, Default)]
struct Later(Arc<OnceLock<Queue<u32>>>);

impl Sink<u32> for Later {
    fn try_write(&self, _: &u32, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.get().expect("set before the close").poll_close(how, waker)
    }
}

/// Two queues, each the other's destination, are closed by two threads.
fn closed_from_two_sides() {
    let pool = Pool::for_model(1, Clock::system());
    let (to_west, to_east) = (Later::default(), Later::default());
    let queue = |sink: &Later| Queue::builder(sink.clone()).name("model").pool(&pool).build().unwrap();
    let (east, west) = (queue(&to_west), queue(&to_east));
    assert!(to_west.0.set(west.clone()).is_ok() && to_east.0.set(east.clone()).is_ok());
    let worker = {
        let pool = pool.clone();
        thread::spawn(move || pool.work(0))
    };
    east.send(1).unwrap();
    let other = thread::spawn(move || close(&west, Shutdown::Drain));
    let reports = [close(&east, Shutdown::Drain), other.join().unwrap()];
    for report in reports {
        assert_eq!(report.components().count(), 2, "{report:?}");
        assert!(report.errors().is_empty() && report.dropped() == 0);
    }
    pool.stop_for_model();
    worker.join().unwrap();
}
