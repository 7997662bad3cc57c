//! Composable event sinks.

mod block;
mod clock;
mod delivery;
mod error;
mod ledger;
mod shutdown;
mod sink;
mod sync;
pub mod telemetry;
mod wakers;

pub use clock::Clock;
pub use delivery::{Delivery, EventId, Frame, History, Journey};
pub use error::{BuildError, Class, CloseError, Failure, Wait, WriteError};
pub use ledger::{DropReason, Dropped, Ledger};
pub use shutdown::{CloseReport, ComponentReport, Shutdown};
pub use sink::{Sink, SinkFn, SinkId, sink_fn};
pub use wakers::Wakers;
