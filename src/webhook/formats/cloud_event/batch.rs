//! The batched mode.

use std::borrow::Borrow;

use super::super::{EncodeError, Format, Message};
use super::{BATCH_MEDIA_TYPE, CloudEvent};

/// The batched mode: a JSON array of events. The specification allows it only where the receiver has asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch;

impl<E: Borrow<CloudEvent>> Format<[E]> for Batch {
    fn content_type(&self) -> &'static str {
        BATCH_MEDIA_TYPE
    }

    fn encode(&self, events: &[E], message: &mut Message) -> Result<(), EncodeError> {
        let events: Vec<&CloudEvent> = events.iter().map(Borrow::borrow).collect();
        events.iter().try_for_each(|event| event.validate())?;
        message.write_json(&events)
    }
}

/// A batch of one.
impl<E: Borrow<CloudEvent>> Format<E> for Batch {
    fn content_type(&self) -> &'static str {
        BATCH_MEDIA_TYPE
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        let event = event.borrow();
        event.validate()?;
        message.write_json(&[event])
    }
}
