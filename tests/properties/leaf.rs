//! What stands at the end of a chain, and is in a mood.

use std::sync::Mutex;
use std::task::{Poll, Waker};

use sinkworks::{CloseError, CloseReport, Delivery, Failure, Shutdown, Sink, WriteError};

use crate::plan::Mood;
use crate::probe::{Event, Key};

#[derive(Debug, thiserror::Error)]
#[error("in a bad mood")]
struct BadMood;

#[derive(Debug, Default)]
pub(crate) struct Leaf(Mutex<State>);

#[derive(Debug)]
struct State {
    mood: Mood,
    closed: bool,
    /// Every event that was taken, those whose answer was lost included.
    taken: Vec<Key>,
    answers_lost: usize,
    waiting: Vec<Waker>,
}

impl Default for State {
    fn default() -> Self {
        Self { mood: Mood::Take, closed: false, taken: Vec::new(), answers_lost: 0, waiting: Vec::new() }
    }
}

impl Leaf {
    pub(crate) fn set(&self, mood: Mood) {
        let mut state = self.0.lock().unwrap();
        state.closed |= mood == Mood::Close;
        state.mood = mood;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// What was taken, and how many answers were lost.
    pub(crate) fn taken(&self) -> (Vec<Key>, usize) {
        let state = self.0.lock().unwrap();
        (state.taken.clone(), state.answers_lost)
    }
}

impl Sink<Event> for Leaf {
    fn try_write(&self, event: &Event, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut state = self.0.lock().unwrap();
        if state.closed {
            return Err(WriteError::Closed);
        }
        match state.mood {
            Mood::Take => state.taken.push(event.key),
            Mood::Fail => return Err(Failure::transient(BadMood).into()),
            Mood::FailForGood => return Err(Failure::permanent(BadMood).into()),
            Mood::LoseAnswer => {
                state.taken.push(event.key);
                state.answers_lost += 1;
                return Err(Failure::transient(BadMood).into());
            }
            Mood::Panic => {
                drop(state);
                // Not `panic!`, which would print.
                std::panic::resume_unwind(Box::new(BadMood));
            }
            Mood::Close => return Err(WriteError::Closed),
            Mood::Hold => {
                state.waiting.push(delivery.waker());
                return Err(WriteError::not_ready_until_woken());
            }
        }
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        let mut state = self.0.lock().unwrap();
        state.closed = true;
        // Who was held learns of it.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(CloseReport::new()))
    }
}
