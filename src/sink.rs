//! The contract that every part of a pipeline keeps.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use crate::block;
use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sync::mutation;
use crate::telemetry::{Topology, short_type_name};

/// A destination of events: the end of a pipeline, or a stage that passes events on to another sink.
///
/// Two methods are required, so that a stage cannot forget to pass a call on; the blocking forms are provided. The trait is
/// object-safe, and `&S`, `Box<S>` and `Arc<S>` are sinks where `S` is one.
///
/// Most leaves are a function: see [`sink_fn`]. Writing the trait out gives access to the [`Delivery`]:
///
/// ```
/// use std::sync::Mutex;
/// use std::task::{Poll, Waker};
/// use sinkworks::{CloseError, CloseReport, Delivery, Shutdown, Sink, WriteError};
///
/// /// Keeps every event with the number of the attempt that brought it.
/// #[derive(Default)]
/// struct Collect(Mutex<Vec<(u64, u32)>>);
///
/// impl Sink<u64> for Collect {
///     fn try_write(&self, event: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
///         self.0.lock().unwrap().push((*event, delivery.attempt()));
///         Ok(())
///     }
///     fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
///         Poll::Ready(Ok(CloseReport::new()))
///     }
/// }
///
/// let sink = Collect::default();
/// sink.write(&7)?;
/// assert_eq!(*sink.0.lock().unwrap(), [(7, 1)]);
/// # Ok::<(), WriteError>(())
/// ```
pub trait Sink<E: ?Sized>: Send + Sync {
    /// Offers `event` to the sink. `Ok` means that the sink has taken responsibility for it: it is delivered, or stored
    /// by a component that accounts for it. It does not say that anything beyond this sink has seen it.
    ///
    /// A sink never waits in here for time, for room or for a breaker: it answers [`WriteError::NotReady`], and is offered
    /// the same event with the same [`Delivery`] again. Before it does, it saves what it must remember about the event with
    /// [`Delivery::save`]. A leaf may block on its own I/O; the pool grows for it.
    ///
    /// A stage that passes on must call the inner sink's `try_write`, not its `write`, with this delivery.
    ///
    /// # Errors
    ///
    /// As [`WriteError`] describes. The event stays with the caller.
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError>;

    /// Begins to close, or makes a close that has begun stricter, and answers whether it is done. From the first call on
    /// the sink answers every new write with [`WriteError::Closed`]. Once ready, it stays ready: closing twice is fine.
    /// Whom it has answered that it is not ready, it wakes: they come again, and learn that it is closed. A sink that passes on to others passes their answers
    /// up, [`CloseError::Cycle`] too.
    ///
    /// A sink that answers [`Poll::Pending`] keeps `waker` and wakes it when it is closed. Unlike `Future::poll` it keeps
    /// the waker of every caller, since a sink may have several: see [`Wakers`](crate::Wakers).
    ///
    /// # Errors
    ///
    /// As [`CloseError`] describes.
    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>>;

    /// What tells this sink from others, for [`Broadcaster::add`](crate::Broadcaster::add) and
    /// [`remove`](crate::Broadcaster::remove). Clones of a handle have the same id.
    fn id(&self) -> Option<SinkId> {
        None
    }

    /// Says what this sink is and what it writes to, for the [topology](crate::telemetry::topology) that an operator sees. By default it is a leaf,
    /// called like its type. A stage describes what it wraps too, or that does not show. Never called for an event.
    ///
    /// ```
    /// # use std::task::{Poll, Waker};
    /// # use sinkworks::{CloseError, CloseReport, Delivery, Shutdown, Sink, WriteError};
    /// use sinkworks::telemetry::Topology;
    ///
    /// struct Encrypting<S>(S);
    ///
    /// impl<S: Sink<Vec<u8>>> Sink<Vec<u8>> for Encrypting<S> {
    ///     fn describe(&self, topology: &mut Topology) {
    ///         topology.stage(None, "encrypting", "aes", |topology| self.0.describe(topology));
    ///     }
    ///     // try_write and poll_close
    /// #   fn try_write(&self, event: &Vec<u8>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
    /// #       self.0.try_write(event, delivery)
    /// #   }
    /// #   fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
    /// #       self.0.poll_close(how, waker)
    /// #   }
    /// }
    /// ```
    fn describe(&self, topology: &mut Topology) {
        topology.leaf(self.id(), "sink", &short_type_name::<Self>());
    }

    /// What a stage may call instead that writes often, where there is something nearer: a queue behind its handle. The handle is
    /// kept beside it.
    #[doc(hidden)]
    fn direct(&self) -> Option<Arc<dyn Sink<E>>> {
        None
    }

    /// Reads what a write will need, so that a stage which writes to many can have the cache lines of several on their way at a time.
    /// The answer means nothing: it keeps the reads from being left out.
    #[doc(hidden)]
    fn warm(&self) -> bool {
        false
    }

    /// Writes `event`, parking the thread for as long as the sink is not ready. A [`Queue`](crate::Queue) without a bound never is.
    ///
    /// On a pool thread, that is inside another sink, it never parks: it answers [`WriteError::NotReady`], the event's journey is forgotten
    /// (attempts, a place in line), and with it who was to be woken. So the answer always names a time, a millisecond from now or earlier, by the
    /// system's clock: a sink that passes the answer on is offered the event again then. Calling
    /// [`try_write`](Self::try_write) with the delivery that one has got forgets nothing and waits no longer than it must.
    ///
    /// # Errors
    ///
    /// As [`WriteError`] describes, without `NotReady` outside pool threads.
    fn write(&self, event: &E) -> Result<(), WriteError> {
        block::write(|delivery| self.try_write(event, delivery))
    }

    /// Closes, parking the thread until the sink is closed. With [`Shutdown::Until`] it returns soon after the deadline in any case.
    ///
    /// # Errors
    ///
    /// [`CloseError::OnWorker`] on a pool thread, unless the sink closed at once; [`CloseError::TimedOut`] if a sink below did
    /// not close in time. Closing has begun in every case.
    fn close(&self, how: Shutdown) -> Result<CloseReport, CloseError> {
        block::close(how, |how, waker| self.poll_close(how, waker))
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<E: ?Sized, S: Sink<E> + ?Sized> Sink<E> for $pointer {
            fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
                (**self).try_write(event, delivery)
            }
            fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
                (**self).poll_close(how, waker)
            }
            fn id(&self) -> Option<SinkId> {
                (**self).id()
            }
            fn describe(&self, topology: &mut Topology) {
                (**self).describe(topology);
            }
            fn direct(&self) -> Option<Arc<dyn Sink<E>>> {
                (**self).direct()
            }
            fn warm(&self) -> bool {
                (**self).warm()
            }
            fn write(&self, event: &E) -> Result<(), WriteError> {
                (**self).write(event)
            }
            fn close(&self, how: Shutdown) -> Result<CloseReport, CloseError> {
                (**self).close(how)
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);

/// What tells one sink from another: a number that this process has not used before. Addresses are no identity, since
/// they are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(NonZeroU64);

impl SinkId {
    /// A new id.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX))
    }

    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for SinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes a leaf sink of a function. After it is closed it answers [`WriteError::Closed`] and the function is called no more.
///
/// ```
/// use sinkworks::{Sink, sink_fn};
///
/// let print = sink_fn(|event: &String| {
///     println!("{event}");
///     Ok(())
/// });
/// print.write(&"hello".to_owned())?;
/// # Ok::<(), sinkworks::WriteError>(())
/// ```
pub fn sink_fn<F>(function: F) -> SinkFn<F> {
    SinkFn { function, closed: AtomicBool::new(false), id: SinkId::unique() }
}

/// The sink that [`sink_fn`] makes.
pub struct SinkFn<F> {
    function: F,
    closed: AtomicBool,
    id: SinkId,
}

impl<F> fmt::Debug for SinkFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkFn").field("id", &self.id).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl<E: ?Sized, F> Sink<E> for SinkFn<F>
where
    F: Fn(&E) -> Result<(), WriteError> + Send + Sync,
{
    fn try_write(&self, event: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        // Acquire, with the Release below: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("function_sees_the_close") {
            return Err(WriteError::Closed);
        }
        (self.function)(event)
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        // Release, with the Acquire above.
        self.closed.store(true, Ordering::Release);
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    /// Called like the function, or like the one that the closure is written in.
    fn describe(&self, topology: &mut Topology) {
        topology.leaf(Some(self.id), "function", &short_type_name::<F>());
    }
}
