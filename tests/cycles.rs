//! Sinks that lead back to themselves: a close does not wait for itself.

mod common;

use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use common::watched;
use sinkworks::{
    Broadcaster, CloseError, CloseReport, Delivery, Filter, Pool, Queue, Shutdown, Sink, SinkId, WriteError, sink_fn,
};

const ALL: [fn() -> Shutdown; 3] =
    [|| Shutdown::Drain, || Shutdown::within(Duration::from_secs(5)), || Shutdown::Abort];

/// Writes on what is still to go round: an event is the number of rounds left.
struct Round<S>(S);

impl<S: Sink<u32>> Sink<u32> for Round<S> {
    fn try_write(&self, event: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if *event == 0 { Ok(()) } else { self.0.try_write(&(event - 1), delivery) }
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }
}

/// A sink that is known only when the queue in front of it has been built.
#[derive(Clone, Default)]
struct Later(Arc<OnceLock<Queue<u32>>>);

impl Sink<u32> for Later {
    fn try_write(&self, event: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.0.get().unwrap().try_write(event, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.get().unwrap().poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        self.0.get().unwrap().id()
    }
}

fn pool() -> Pool {
    Pool::builder().threads(1).max_threads(1).build().unwrap()
}

fn queue(sink: impl Sink<u32> + 'static, pool: &Pool) -> Queue<u32> {
    Queue::builder(sink).pool(pool).build().unwrap()
}

/// The report names the queue, with everything that it accepted.
fn closes(sink: &impl Sink<u32>, how: Shutdown, queues: &[&Queue<u32>]) {
    let report = sink.close(how).unwrap();
    assert!(report.errors().is_empty(), "{how:?}: {:?}", report.errors());
    for queue in queues {
        let ledger = queue.ledger();
        assert!(ledger.balances() && ledger.pending == 0, "{how:?}: {ledger:?}");
        let said =
            report.component(queue.id().unwrap()).unwrap_or_else(|| panic!("{how:?}: a queue is not in {report:?}"));
        assert_eq!(said.ledger, ledger, "{how:?}");
    }
}

#[test]
fn a_queue_that_feeds_the_broadcaster_in_front_of_it_closes() {
    for how in ALL {
        for from_the_queue in [false, true] {
            watched(move || {
                let (pool, bus) = (pool(), Broadcaster::new());
                let feedback = queue(Round(bus.clone()), &pool);
                bus.add(feedback.clone()).unwrap();
                bus.write(&3).unwrap();
                pool.wait_idle();
                assert_eq!(feedback.ledger().delivered, 4);
                if how() != Shutdown::Abort {
                    bus.write(&1_000_000).unwrap();
                }
                if from_the_queue {
                    closes(&feedback, how(), &[&feedback]);
                } else {
                    closes(&bus, how(), &[&feedback]);
                }
            });
        }
    }
}

/// Whichever is closed, the report has every queue, and each queue ends with such a report, though nobody asks it.
#[test]
fn two_broadcasters_that_feed_each_other_close() {
    for how in ALL {
        for from_the_west in [false, true] {
            watched(move || {
                let (pool, east, west) = (pool(), Broadcaster::new(), Broadcaster::new());
                let to_west = queue(Round(west.clone()), &pool);
                let to_east = queue(Round(east.clone()), &pool);
                east.add(to_west.clone()).unwrap();
                west.add(to_east.clone()).unwrap();
                let seen = queue(sink_fn(|_: &u32| Ok(())), &pool);
                west.add(Filter::new(seen.clone(), |event: &u32| *event > 0)).unwrap();
                east.write(&4).unwrap();
                pool.wait_idle();
                assert_eq!((to_west.ledger().delivered, to_east.ledger().delivered), (3, 2));
                closes(if from_the_west { &west } else { &east }, how(), &[&to_west, &to_east, &seen]);
                pool.wait_idle();
                for queue in [&to_west, &to_east] {
                    let Poll::Ready(Ok(report)) = queue.poll_close(how(), Waker::noop()) else {
                        panic!("{:?}: a queue has not ended", how());
                    };
                    assert_eq!(report.components().count(), 3, "{:?}", how());
                }
            });
        }
    }
}

#[test]
fn a_queue_in_front_of_itself_closes() {
    for how in ALL {
        watched(move || {
            let pool = pool();
            let later = Later::default();
            let queue = queue(Round(later.clone()), &pool);
            assert!(later.0.set(queue.clone()).is_ok());
            queue.write(&3).unwrap();
            pool.wait_idle();
            assert_eq!(queue.ledger().delivered, 4);
            closes(&queue, how(), &[&queue]);
        });
    }
}
