//! One writer's end and one receiver: our queue, and what each peer has for the same. Unbounded, as our queue is by default.
//!
//! Each is used as its documentation does where speed matters: threads block in threads' calls, tasks await, what can be taken in one call is.

use std::marker::PhantomData;

use sinkworks::{Queue, sink_fn};
use tokio::runtime::Runtime;

use crate::strategy::{self, Strategy};

/// A way for events from any number of writers to one function.
pub trait Way<E>: Send + Sync + 'static {
    const NAME: &'static str;
    /// Its receiver does not sleep for long, which would slow the other contenders down: it is opened for each round anew.
    const POLLS: bool = false;

    /// Whoever receives calls `sink` for each event, one at a time.
    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self;

    fn send(&self, event: E);
}

/// Calls a macro for each way.
#[macro_export]
macro_rules! every_way {
    ($do:ident) => {
        $do!($crate::way::Sinkworks<_>);
        $do!($crate::way::Crossbeam<_>);
        $do!($crate::way::Std<_>);
        $do!($crate::way::Flume<_>);
        $do!($crate::way::Kanal<_>);
        $do!($crate::way::Crossfire<_>);
        $do!($crate::way::Tokio<_>);
        $do!($crate::way::AsyncChannel<_>);
    };
}

pub struct Sinkworks<E: Send + 'static, S = strategy::Default>(Queue<E>, PhantomData<S>);

impl<E: Send + Sync + 'static, S: Strategy> Way<E> for Sinkworks<E, S> {
    const NAME: &'static str = S::NAME;
    const POLLS: bool = S::POLLS;

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let sink = sink_fn(move |event: &E| {
            sink(event);
            Ok(())
        });
        Self(Queue::builder(sink).pool(&S::pool()).build().expect("nothing is wrong"), PhantomData)
    }

    fn send(&self, event: E) {
        assert!(self.0.send(event).is_ok(), "it is open");
    }
}

/// The receiver's thread of the peers that have blocking receivers.
fn receive(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("receiver".into()).spawn(work).expect("a thread starts");
}

pub struct Crossbeam<E>(crossbeam_channel::Sender<E>);

impl<E: Send + 'static> Way<E> for Crossbeam<E> {
    const NAME: &'static str = "crossbeam-channel";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        receive(move || receiver.iter().for_each(|event| sink(&event)));
        Self(sender)
    }

    fn send(&self, event: E) {
        self.0.send(event).expect("it is open");
    }
}

pub struct Std<E>(std::sync::mpsc::Sender<E>);

impl<E: Send + 'static> Way<E> for Std<E> {
    const NAME: &'static str = "std-mpsc";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        receive(move || receiver.iter().for_each(|event| sink(&event)));
        Self(sender)
    }

    fn send(&self, event: E) {
        self.0.send(event).expect("it is open");
    }
}

pub struct Flume<E>(flume::Sender<E>);

impl<E: Send + 'static> Way<E> for Flume<E> {
    const NAME: &'static str = "flume";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let (sender, receiver) = flume::unbounded();
        // Waits for one, then takes all that is there under one lock.
        receive(move || {
            while let Ok(event) = receiver.recv() {
                sink(&event);
                receiver.drain().for_each(|event| sink(&event));
            }
        });
        Self(sender)
    }

    fn send(&self, event: E) {
        self.0.send(event).expect("it is open");
    }
}

pub struct Kanal<E>(kanal::Sender<E>);

impl<E: Send + 'static> Way<E> for Kanal<E> {
    const NAME: &'static str = "kanal";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let (sender, receiver) = kanal::unbounded();
        receive(move || {
            let mut all = Vec::new();
            while let Ok(event) = receiver.recv() {
                sink(&event);
                let _ = receiver.drain_into(&mut all);
                all.drain(..).for_each(|event| sink(&event));
            }
        });
        Self(sender)
    }

    fn send(&self, event: E) {
        self.0.send(event).expect("it is open");
    }
}

pub struct Crossfire<E: Send + 'static>(crossfire::MTx<crossfire::mpsc::List<E>>);

impl<E: Send + Unpin + 'static> Way<E> for Crossfire<E> {
    const NAME: &'static str = "crossfire";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        crossfire::detect_backoff_cfg();
        let (sender, receiver) = crossfire::mpsc::unbounded_blocking();
        receive(move || {
            while let Ok(event) = receiver.recv() {
                sink(&event);
            }
        });
        Self(sender)
    }

    fn send(&self, event: E) {
        assert!(self.0.send(event).is_ok(), "it is open");
    }
}

pub struct Tokio<E> {
    sender: tokio::sync::mpsc::UnboundedSender<E>,
    _runtime: Runtime,
}

impl<E: Send + 'static> Way<E> for Tokio<E> {
    const NAME: &'static str = "tokio-mpsc";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let runtime = runtime();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        runtime.spawn(async move {
            let mut all = Vec::with_capacity(256);
            while receiver.recv_many(&mut all, 256).await > 0 {
                all.drain(..).for_each(|event| sink(&event));
            }
        });
        Self { sender, _runtime: runtime }
    }

    fn send(&self, event: E) {
        assert!(self.sender.send(event).is_ok(), "it is open");
    }
}

pub struct AsyncChannel<E> {
    sender: async_channel::Sender<E>,
    _runtime: Runtime,
}

impl<E: Send + 'static> Way<E> for AsyncChannel<E> {
    const NAME: &'static str = "async-channel";

    fn open(sink: impl Fn(&E) + Send + Sync + 'static) -> Self {
        let runtime = runtime();
        let (sender, receiver) = async_channel::unbounded();
        runtime.spawn(async move {
            while let Ok(event) = receiver.recv().await {
                sink(&event);
            }
        });
        Self { sender, _runtime: runtime }
    }

    fn send(&self, event: E) {
        assert!(self.sender.try_send(event).is_ok(), "it is open");
    }
}

/// Tokio as it comes: a worker for each processor.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().build().expect("tokio starts")
}
