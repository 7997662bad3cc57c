//! A close while a write has the file.

use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use serde::{Serialize, Serializer};
use sinkworks::ndjson::{Flush, NdjsonFile};
use sinkworks::test_util::Gate;
use sinkworks::{Shutdown, Sink};

use crate::common::{Bell, watched};
use crate::{Directory, numbers};

/// An event that is not written before the gate is open, as on a disk that hangs.
struct Slow(Gate);

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.pass();
        serializer.serialize_u64(7)
    }
}

#[test]
fn a_close_does_not_wait_for_a_write_that_hangs_and_every_closer_is_woken_by_its_end() {
    watched(|| {
        let directory = Directory::new();
        let file = NdjsonFile::append(directory.file()).unwrap();
        let gate = Gate::new();
        let writer = thread::spawn({
            let (file, gate) = (file.clone(), gate.clone());
            move || file.write(&Slow(gate))
        });
        gate.wait_for(1);
        let [(bell, waker), (other, more)] = [Bell::new(), Bell::new()];
        assert!(Sink::<u64>::poll_close(&file, Shutdown::Drain, &waker).is_pending());
        assert!(Sink::<u64>::poll_close(&file, Shutdown::Drain, &more).is_pending());
        assert!(file.write(&8u64).is_err(), "closed from the first call on");
        gate.open();
        writer.join().unwrap().unwrap();
        assert_eq!((bell.rung(), other.rung()), (1, 1));
        assert!(matches!(Sink::<u64>::poll_close(&file, Shutdown::Drain, &waker), Poll::Ready(Ok(_))));
        assert_eq!(numbers(directory.file()), [7]);
    });
}

#[test]
fn an_abort_does_not_wait_either_and_counts_the_buffer_as_in_flight() {
    watched(|| {
        let directory = Directory::new();
        let file = NdjsonFile::builder(directory.file()).flush(Flush::Bytes(100)).open().unwrap();
        file.write(&1u64).unwrap();
        let gate = Gate::new();
        let writer = thread::spawn({
            let (file, gate) = (file.clone(), gate.clone());
            move || file.write(&Slow(gate))
        });
        gate.wait_for(1);
        let report = Sink::<u64>::close(&file, Shutdown::within(Duration::ZERO)).unwrap();
        assert_eq!((report.in_flight(), report.dropped()), (1, 0));
        gate.open();
        writer.join().unwrap().unwrap();
        drop(file);
        assert_eq!(numbers(directory.file()), [1, 7]);
    });
}

#[test]
fn closes_and_writes_at_the_same_time_lose_nothing_that_was_taken() {
    watched(|| {
        for round in 0..50u64 {
            let directory = Directory::new();
            let file = NdjsonFile::builder(directory.file()).flush(Flush::Bytes(64)).open().unwrap();
            let taken = Arc::new(std::sync::atomic::AtomicU64::new(0));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while file.write(&1u64).is_ok() {
                            taken.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                        }
                    });
                }
                while taken.load(std::sync::atomic::Ordering::Acquire) < round {
                    std::hint::spin_loop();
                }
                let report = Sink::<u64>::close(&file, Shutdown::Drain).unwrap();
                assert_eq!(report.dropped(), 0);
            });
            assert_eq!(numbers(directory.file()).len() as u64, taken.load(std::sync::atomic::Ordering::Acquire));
        }
    });
}
