//! One writer's end and N receivers that each get every event: our broadcaster before N queues, and what each peer has for the same.

use std::marker::PhantomData;

use sinkworks::{Broadcaster, Queue, Sink, sink_fn};
use tokio::runtime::Runtime;

use crate::strategy::{self, Strategy};
use crate::tally::Counter;
use crate::way::runtime;

/// A way for events from one writer to each of N receivers.
pub trait Fan {
    const NAME: &'static str;
    /// The most receivers it is measured with: threads and limits of its own.
    const MOST: usize = usize::MAX;
    /// Its receivers poll while there is nothing, which would slow the other contenders down: it is opened for each round anew.
    const POLLS: bool = false;
    /// It is so slow that it gets batches smaller by this.
    const SLOWER: usize = 1;

    /// A receiver for each counter. `pending` events may wait for a receiver without one being lost.
    fn open(counters: Vec<Counter>, pending: usize) -> Self;

    fn write(&mut self);
}

/// Calls a macro for each fan.
#[macro_export]
macro_rules! every_fan {
    ($do:ident) => {
        $do!($crate::fan::Sinkworks);
        $do!($crate::fan::QueuedSinkworks);
        $do!($crate::fan::TokioTasks);
        $do!($crate::fan::TokioBroadcast);
        $do!($crate::fan::AsyncBroadcast);
        $do!($crate::fan::Threads);
        $do!($crate::fan::Bus);
        #[cfg(feature = "qubit")]
        $do!($crate::fan::Qubit);
    };
}

pub struct Sinkworks<S = strategy::Default>(Broadcaster<u64>, PhantomData<S>);

impl<S: Strategy> Fan for Sinkworks<S> {
    const NAME: &'static str = S::NAME;
    const POLLS: bool = S::POLLS;

    fn open(counters: Vec<Counter>, _: usize) -> Self {
        let (broadcaster, pool) = (Broadcaster::new(), S::pool());
        for counter in counters {
            let sink = sink_fn(move |_: &u64| {
                counter.count();
                Ok(())
            });
            let queue = Queue::builder(sink).pool(&pool).build().expect("nothing is wrong");
            broadcaster.add(queue).expect("it is open");
        }
        Self(broadcaster, PhantomData)
    }

    fn write(&mut self) {
        self.0.write(&1).expect("it is open");
    }
}

/// The same behind one more queue, as in Go: the writer hands the event over, another thread does the fan-out.
pub struct QueuedSinkworks(Queue<u64>);

impl Fan for QueuedSinkworks {
    const NAME: &'static str = "sinkworks-queued";

    fn open(counters: Vec<Counter>, pending: usize) -> Self {
        Self(Queue::new(<Sinkworks>::open(counters, pending).0))
    }

    fn write(&mut self) {
        self.0.send(1).expect("it is open");
    }
}

/// A tokio task for each receiver, each with a channel of its own.
pub struct TokioTasks {
    senders: Vec<tokio::sync::mpsc::UnboundedSender<u64>>,
    _runtime: Runtime,
}

impl Fan for TokioTasks {
    const NAME: &'static str = "tokio-tasks";

    fn open(counters: Vec<Counter>, _: usize) -> Self {
        let runtime = runtime();
        let senders = counters.into_iter().map(|counter| {
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            runtime.spawn(async move {
                while receiver.recv().await.is_some() {
                    counter.count();
                }
            });
            sender
        });
        Self { senders: senders.collect(), _runtime: runtime }
    }

    fn write(&mut self) {
        for sender in &self.senders {
            sender.send(1).expect("the task lives");
        }
    }
}

/// Tokio's broadcast channel: one bounded ring that tasks read.
pub struct TokioBroadcast {
    sender: tokio::sync::broadcast::Sender<u64>,
    _runtime: Runtime,
}

impl Fan for TokioBroadcast {
    const NAME: &'static str = "tokio-broadcast";

    fn open(counters: Vec<Counter>, pending: usize) -> Self {
        let runtime = runtime();
        let (sender, _) = tokio::sync::broadcast::channel(pending);
        for counter in counters {
            let mut receiver = sender.subscribe();
            runtime.spawn(async move {
                while receiver.recv().await.is_ok() {
                    counter.count();
                }
            });
        }
        Self { sender, _runtime: runtime }
    }

    fn write(&mut self) {
        self.sender.send(1).expect("the tasks live");
    }
}

/// The same of the smol project, read by tokio's tasks.
pub struct AsyncBroadcast {
    sender: async_broadcast::Sender<u64>,
    _runtime: Runtime,
}

impl Fan for AsyncBroadcast {
    const NAME: &'static str = "async-broadcast";

    fn open(counters: Vec<Counter>, pending: usize) -> Self {
        let runtime = runtime();
        let (sender, receiver) = async_broadcast::broadcast(pending);
        let inactive = receiver.deactivate();
        for counter in counters {
            let mut receiver = inactive.activate_cloned();
            runtime.spawn(async move {
                while receiver.recv_direct().await.is_ok() {
                    counter.count();
                }
            });
        }
        Self { sender, _runtime: runtime }
    }

    fn write(&mut self) {
        self.sender.try_broadcast(1).expect("there is room");
    }
}

/// A thread for each receiver, each with a crossbeam channel of its own.
pub struct Threads(Vec<crossbeam_channel::Sender<u64>>);

impl Fan for Threads {
    const NAME: &'static str = "crossbeam-threads";
    const MOST: usize = 100;

    fn open(counters: Vec<Counter>, _: usize) -> Self {
        let senders = counters.into_iter().map(|counter| {
            let (sender, receiver) = crossbeam_channel::unbounded();
            std::thread::spawn(move || receiver.iter().for_each(|_: u64| counter.count()));
            sender
        });
        Self(senders.collect())
    }

    fn write(&mut self) {
        for sender in &self.0 {
            sender.send(1).expect("the thread lives");
        }
    }
}

/// The crate `bus`: a bounded ring for one writer, read by threads.
pub struct Bus {
    bus: Option<bus::Bus<u64>>,
    receivers: Vec<std::thread::JoinHandle<()>>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.bus.take());
        for receiver in self.receivers.drain(..) {
            receiver.join().expect("no panic");
        }
    }
}

impl Fan for Bus {
    const NAME: &'static str = "bus";
    const MOST: usize = 100;
    const POLLS: bool = true;

    fn open(counters: Vec<Counter>, pending: usize) -> Self {
        let mut bus = bus::Bus::new(pending);
        let receivers = counters.into_iter().map(|counter| {
            let receiver = bus.add_rx();
            std::thread::spawn(move || receiver.into_iter().for_each(|_| counter.count()))
        });
        let receivers = receivers.collect();
        Self { bus: Some(bus), receivers }
    }

    fn write(&mut self) {
        self.bus.as_mut().expect("it is open").broadcast(1);
    }
}

/// qubit-event-bus with its local provider. Unless told otherwise it allows 256 subscriptions, each with a thread of its own.
#[cfg(feature = "qubit")]
pub struct Qubit {
    bus: qubit_event_bus::EventBus,
    topic: qubit_event_bus::model::Topic<u64>,
    _subscriptions: Vec<qubit_event_bus::Subscription>,
}

#[cfg(feature = "qubit")]
impl Fan for Qubit {
    const NAME: &'static str = "qubit-event-bus";
    const MOST: usize = 100;
    const SLOWER: usize = 1_000;

    fn open(counters: Vec<Counter>, pending: usize) -> Self {
        use qubit_event_bus::local::LocalEventBusConfig;
        use qubit_event_bus::model::{SubscribeRequest, Topic};
        // Room for two batches, so that none is refused: an event counts until its handler's return is noted.
        let capacity = 2 * pending;
        let config =
            LocalEventBusConfig::new().queue_capacity(capacity).max_total_outstanding(capacity * counters.len());
        let bus = qubit_event_bus::EventBus::local(config);
        let (bus, topic) = (bus.expect("it starts"), Topic::<u64>::new("events").expect("a name"));
        let subscriptions = counters.into_iter().enumerate().map(|(number, counter)| {
            let request = SubscribeRequest::new(&format!("subscriber-{number}"), topic.clone()).expect("a name");
            bus.subscribe(request, move |_| counter.count_shared()).expect("it is open")
        });
        let subscriptions = subscriptions.collect();
        Self { bus, topic, _subscriptions: subscriptions }
    }

    fn write(&mut self) {
        use qubit_event_bus::model::{AdmissionOutcome, PublishRequest};
        let request = PublishRequest::new(self.topic.clone(), 1).expect("an event");
        let receipt = self.bus.publish(request).expect("it is open");
        assert!(matches!(receipt.admission_outcome(), AdmissionOutcome::Accepted(_)), "no subscriber refuses");
    }
}
