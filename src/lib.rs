//! Composable event sinks.

mod block;
mod clock;
mod delivery;
mod error;
mod filter;
mod intake;
mod ledger;
mod names;
mod pool;
mod queue;
mod shutdown;
mod sink;
mod sync;
mod wakers;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use clock::Clock;
pub use delivery::{Delivery, EventId, Frame, History, Journey};
pub use error::{BuildError, Class, CloseError, Failure, Wait, WriteError};
pub use filter::Filter;
pub use intake::entrance::{Overflow, SendError};
pub use ledger::{DropReason, Dropped, Ledger};
pub use pool::{Pool, PoolBuilder, PoolStats};
pub use queue::{Queue, QueueBuilder};
pub use shutdown::{CloseReport, ComponentReport, Shutdown};
pub use sink::{Sink, SinkFn, SinkId, sink_fn};
pub use wakers::Wakers;
