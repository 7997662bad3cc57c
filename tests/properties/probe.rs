//! What passes between two stages.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use sinkworks::{Class, CloseError, CloseReport, Delivery, Shutdown, Sink, SinkId, WriteError};

/// The writer and its number for the event.
pub(crate) type Key = (u8, u32);

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) key: Key,
    /// Tells how many clones there are.
    pub(crate) _alive: Arc<()>,
}

impl Event {
    /// Its size in bytes: 0 to 4, and now and then more than any queue has room for.
    pub(crate) fn size(&self) -> u64 {
        if self.key.1 % 37 == 36 { 100 } else { u64::from(self.key.1 % 5) }
    }
}

/// How the writes to a stage were answered.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// The events that it took, in this order.
    pub(crate) ok: Vec<Key>,
    /// The events that it was offered.
    pub(crate) offered: BTreeSet<Key>,
    pub(crate) closed: u64,
    pub(crate) full: u64,
    pub(crate) transient: u64,
    pub(crate) permanent: u64,
    pub(crate) exhausted: u64,
    pub(crate) panicked: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Tally>);

impl Record {
    pub(crate) fn note(&self, key: Key, answer: &Result<(), WriteError>) {
        let mut tally = self.0.lock().unwrap();
        tally.offered.insert(key);
        match answer {
            Ok(()) => tally.ok.push(key),
            Err(WriteError::NotReady(_)) => {}
            Err(WriteError::Closed) => tally.closed += 1,
            Err(WriteError::Full) => tally.full += 1,
            Err(WriteError::Failed(failure)) => match failure.class() {
                Class::Transient => tally.transient += 1,
                Class::Permanent => tally.permanent += 1,
                Class::Exhausted => tally.exhausted += 1,
                class => panic!("{class:?}"),
            },
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap()
    }
}

/// Passes everything on and notes it.
pub(crate) struct Probe<S> {
    pub(crate) sink: S,
    pub(crate) record: Arc<Record>,
}

/// A write that ends without an answer has panicked.
struct Under<'a>(&'a Record, Key, bool);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        if !self.2 {
            let mut tally = self.0.tally();
            tally.offered.insert(self.1);
            tally.panicked += 1;
        }
    }
}

impl<S: Sink<Event>> Sink<Event> for Probe<S> {
    fn try_write(&self, event: &Event, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut under = Under(&self.record, event.key, false);
        let answer = self.sink.try_write(event, delivery);
        under.2 = true;
        self.record.note(event.key, &answer);
        answer
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        self.sink.id()
    }

    fn direct(&self) -> Option<Arc<dyn Sink<Event>>> {
        let sink = self.sink.direct()?;
        Some(Arc::new(Probe { sink, record: self.record.clone() }))
    }
}
