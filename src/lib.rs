//! Composable event sinks: queues, retries with a breaker, and fan-out, with an exact account of every event.
//!
//! A service writes events on its request path. The write must be cheap and must not wait for whoever receives them. So events go
//! into a [`Queue`], and a [`Pool`] of threads delivers them: to a function, a file, a webhook, or whatever else is a [`Sink`].
//!
//! ```text
//! service ── write ──> Broadcaster ──> Queue ──> RetryingSink (Breaker) ──> your Sink
//!                           ├────────> Filter ──> Queue ──> your Sink
//!                           └────────> Channel ──> a reader in the same process
//! ```
//!
//! ```
//! use std::time::Duration;
//! use sinkworks::{Breaker, Broadcaster, Shutdown, Sink, SinkExt, sink_fn};
//!
//! let archive = sink_fn(|event: &String| {
//!     println!("archived: {event}");
//!     Ok(())
//! });
//! let broadcaster = Broadcaster::new();
//! broadcaster.add(archive.retrying(Breaker::new(5, Duration::from_secs(1))).queued())?;
//!
//! broadcaster.write(&"signed up".to_owned())?;
//! let report = broadcaster.close(Shutdown::within(Duration::from_secs(5)))?;
//! assert_eq!((report.dropped(), report.in_flight()), (0, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of an event
//!
//! 1. A [`Broadcaster`] offers it to each of its sinks, on the writer's thread. A [`Filter`] lets some events pass.
//! 2. A [`Queue`] stores it; this is where a write ends. A [`Channel`] does the same for a reader in the same process.
//! 3. A worker of the [`Pool`] gives the queue a turn, which offers its events to the next sink, one at a time and in order; or [several in one write](Queue::batching).
//! 4. A [`RetryingSink`] repeats what fails, as a [`RetryStrategy`] says: a [`Breaker`], an [`ExponentialBackoff`], a [`RetryLimit`], a
//!    [`RetryBudget`], or several of them. Waiting, it holds no thread. A [`TimeLimit`] caps its patience, a [`Fallback`] has somewhere else to go.
//! 5. The last sink takes it: a function ([`sink_fn`]), a type of yours that is a [`Sink`], or the `Webhook`, `NdjsonFile` or `NdjsonStdout` of this crate.
//!
//! With each event goes its [`Delivery`], in which stages remember what they must; stages answer with a [`WriteError`]. Components that hold
//! events keep a [`Ledger`]: `accepted = delivered + dropped + pending`. A close begins at the top and ends with a [`CloseReport`] of
//! all of them. [`telemetry`] hands the same numbers to the `metrics` crate.
//!
//! # Guides
//!
//! - [Webhooks, end to end](guide::webhooks)
//! - [Embedding in a service](guide::service)
//! - [Writing your own sink](guide::sinks)
//! - [Coming from go-events](guide::go_events)
//! - [Operating it](guide::operating)
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `prometheus` | `telemetry::serve` and `telemetry::Exporter`: the metrics for a Prometheus scrape, the pools' health, the running topology |
//! | `tracing` | state changes (a breaker, an eviction, an overflow, a close …) as events of the `tracing` crate, rate-limited: see [`telemetry`] |
//! | `webhook` | the module `webhook`: events over HTTP or HTTPS, signed, as JSON, `CloudEvents` or registry notifications, and back. Its TLS needs a C compiler to build |
//! | `ndjson` | the module `ndjson`: events as NDJSON, in a file that is rotated and reopened, or on the standard output |
//! | `test-util` | the module `test_util`: a manual clock, ready-made sinks, and a check that a sink keeps the contract |
//!
//! # Limits
//!
//! - **Memory only.** Queues are not durable. What is pending when the process ends, however it ends, is lost. [`close`](Sink::close) first,
//!   with a deadline: [`Shutdown::within`].
//! - **Process exit.** Nothing runs at exit by itself. Dropping the last handle of a queue begins a drain in the background; a `main` that
//!   returns does not wait for it.
//! - **Fork.** A child process made by `fork` has no worker threads: what is written there stays pending.
//! - **Delivered** means that the destination's write answered `Ok`. A write that failed may still have arrived: behind a timeout the receiver
//!   may see an event twice.
//! - **A sink that blocks** holds a thread until it returns. A pool grows for it, up to its maximum.
//! - **Cycles** of bounded queues can wait for each other's room for ever.

// The contract that every part keeps.

// What a sink is.
mod sink;
// The state of one event's journey.
mod delivery;
// Why a write, a close or a build did not succeed.
mod error;
// How a pipeline ends, and the report.
mod shutdown;
// What became of every event.
mod ledger;

// The way of an event.

// Fan-out.
mod broadcaster;
// Which events pass.
mod filter;
// How a writer gets a place in a queue or a channel.
mod intake;
// Between a writer and a sink.
mod queue;
// Many events in one write.
mod batch;
// What becomes of events that a queue drops.
mod dead_letter;
// Trying again, and when.
mod retry;
// How long an event may wait.
mod time_limit;
// Where events go while their sink does not take them.
mod fallback;
// The end of the way: a reader in this process.
mod channel;
// The end of the way: an HTTP endpoint.
#[cfg(feature = "webhook")]
pub mod webhook;
// The end of the way: a file, or the standard output.
#[cfg(feature = "ndjson")]
pub mod ndjson;
// Who has delivered an event, for its writer.
mod receipt;
// The stages as methods.
mod compose;

// What lies under the way.

// The threads: workers and the keeper of timers.
mod pool;
// Monotonic time.
mod clock;
// The blocking forms of write and close.
mod block;
mod contain;
// Whom to wake.
mod wakers;
// A lock that a closer does not wait for.
#[cfg(any(feature = "ndjson", sinkworks_loom))]
mod closing_lock;
// Names of components.
mod name;
// Metrics.
pub mod telemetry;
// The switch between the real primitives and the models'.
mod sync;

// For readers.

// How the parts are used together. Documentation only.
#[cfg(any(doc, doctest))]
pub mod guide;

// For tests.

// What tests of pipelines need.
#[cfg(feature = "test-util")]
pub mod test_util;
// Random inputs for the parsers.
#[cfg(all(test, not(sinkworks_loom)))]
#[path = "../tests/common/fuzz.rs"]
mod fuzz;
// The models of the concurrency.
#[cfg(sinkworks_loom)]
#[doc(hidden)]
#[path = "../loom-tests/models/mod.rs"]
pub mod models;

pub use batch::{BatchError, BatchFn, batch_fn};
pub use broadcaster::{Broadcaster, RequiredSinkError, SinkPanicked};
pub use channel::{Channel, ChannelBuilder, Iter, Receiver, RecvError};
pub use clock::Clock;
pub use compose::SinkExt;
pub use dead_letter::{DeadLetter, Replayed, replay};
pub use delivery::{Delivery, EventId, Frame, History, Journey};
pub use error::{BuildError, Class, CloseError, Failure, Wait, WriteError};
pub use fallback::{Fallback, FallbackError};
pub use filter::Filter;
pub use intake::entrance::{Overflow, SendError};
pub use intake::limits::EventTooLarge;
pub use ledger::{DropReason, Dropped, Ledger};
pub use pool::{Pool, PoolBuilder, PoolStats, WaitStrategy};
pub use queue::{Batching, Queue, QueueBuilder};
pub use receipt::{Acknowledged, Acknowledgement, Outcome, Receipt, ReceiptError, Tracked, Untracked};
pub use retry::{
    Breaker, BreakerBuilder, BreakerState, DestinationFull, ExponentialBackoff, ExponentialBackoffBuilder, FailFast,
    Jitter, NotAttempted, Permit, Proceed, RetryBudget, RetryBudgetBuilder, RetryLimit, RetryStats, RetryStrategy,
    RetryingSink, Verdict, Withdrawal,
};
pub use shutdown::{CloseReport, ComponentReport, Shutdown};
pub use sink::{Sink, SinkFn, SinkId, sink_fn};
pub use time_limit::{TimeLimit, TimeLimitReached};
pub use wakers::Wakers;

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
