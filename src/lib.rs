//! Composable event sinks.

mod block;
mod broadcaster;
mod channel;
mod clock;
mod compose;
mod delivery;
mod error;
mod filter;
mod intake;
mod ledger;
mod names;
mod pool;
mod queue;
mod retry;
mod shutdown;
mod sink;
mod sync;
pub mod telemetry;
#[cfg(feature = "test-util")]
pub mod test_util;
mod wakers;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use broadcaster::Broadcaster;
pub use channel::{Channel, ChannelBuilder, Iter, Receiver, RecvError};
pub use clock::Clock;
pub use compose::SinkExt;
pub use delivery::{Delivery, EventId, Frame, History, Journey};
pub use error::{BuildError, Class, CloseError, Failure, Wait, WriteError};
pub use filter::Filter;
pub use intake::entrance::{Overflow, SendError};
pub use ledger::{DropReason, Dropped, Ledger};
pub use pool::{Pool, PoolBuilder, PoolStats};
pub use queue::{Queue, QueueBuilder};
pub use retry::{
    Breaker, BreakerBuilder, BreakerState, ExponentialBackoff, ExponentialBackoffBuilder, Permit, Proceed, RetryStats,
    RetryStrategy, RetryingSink, Verdict,
};
pub use shutdown::{CloseReport, ComponentReport, Shutdown};
pub use sink::{Sink, SinkFn, SinkId, sink_fn};
pub use wakers::Wakers;
