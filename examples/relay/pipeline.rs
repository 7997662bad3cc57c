//! The branches of the fan-out, and what the outside sees of each: its numbers, whatever it is made of.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sinkworks::ndjson::NdjsonFile;
use sinkworks::webhook::Webhook;
use sinkworks::{
    Batching, Breaker, BuildError, Channel, CloseReport, DropReason, ExponentialBackoff, Ledger, Queue, QueueBuilder,
    RetryStrategy, RetryingSink, Sink, SinkId,
};

use crate::watched::{Trouble, Watched};

/// One destination as it is shown and accounted for.
pub(crate) struct Branch {
    pub(crate) name: String,
    id: Option<SinkId>,
    ledger: Box<dyn Fn() -> Ledger + Send + Sync>,
    retries: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    pub(crate) breaker: Option<Breaker>,
    trouble: Trouble,
}

impl Branch {
    pub(crate) fn ledger(&self) -> Ledger {
        (self.ledger)()
    }

    /// Its part of the report: decided, where the live ledger may still move. A channel's readers may go on after the close, so
    /// theirs is the live one.
    pub(crate) fn final_ledger(&self, report: Option<&CloseReport>) -> Ledger {
        let component = self.id.and_then(|id| report?.component(id));
        component.map_or_else(|| self.ledger(), |component| component.ledger)
    }

    /// What the progress shows.
    pub(crate) fn status(&self) -> String {
        let Ledger { delivered, dropped, pending, .. } = self.ledger();
        let mut text = format!("{:<7} depth={pending:<5} delivered={delivered:<7}", self.name);
        if let Some(retries) = &self.retries {
            let _ = write!(text, " retries={:<5}", retries());
        }
        if dropped.total() > 0 {
            let _ = write!(text, " dropped={:<5}", dropped.total());
        }
        if let Some(breaker) = &self.breaker {
            let _ = write!(text, " breaker={}", breaker.state());
        }
        text.trim_end().to_owned()
    }

    /// What is worth a line now.
    pub(crate) fn news(&self) -> Option<String> {
        self.trouble.news().map(|news| format!("{}: {news}", self.name))
    }

    /// Why events were lost, if some were.
    pub(crate) fn losses(&self, ledger: &Ledger) -> Option<String> {
        let reasons = DropReason::ALL.iter().map(|reason| (reason, ledger.dropped[*reason]));
        let reasons: Vec<_> =
            reasons.filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{n} {}", reason.as_str())).collect();
        if reasons.is_empty() && ledger.pending == 0 {
            return None;
        }
        let mut text = format!("{}: lost {}", self.name, reasons.join(", "));
        if ledger.pending > 0 {
            let _ = write!(text, "; {} in flight, may have arrived", ledger.pending);
        }
        if let Some(error) = self.trouble.last_error() {
            let _ = write!(text, "; last error: {error}");
        }
        Some(text)
    }
}

/// Queue → retry with a breaker → webhook.
pub(crate) fn webhook<E>(
    name: &str,
    sink: Webhook,
    breaker: &Breaker,
    bound: Option<u64>,
) -> Result<(Queue<E>, Branch), BuildError>
where
    E: Serialize + Clone + Send + Sync + 'static,
{
    let (queue, mut branch) = retried(name, sink, breaker.clone(), |sink| bounded(Queue::builder(sink), bound))?;
    branch.breaker = Some(breaker.clone());
    Ok((queue, branch))
}

/// The lines that a file is given in one write are what has gathered during the last one, up to this many.
const LINES: Batching = Batching::new(100, Duration::ZERO);

/// Queue → retry with a growing pause → file. A full disk is nothing that a breaker's probes would spare.
pub(crate) fn file<E>(name: &str, sink: NdjsonFile, bound: Option<u64>) -> Result<(Queue<E>, Branch), BuildError>
where
    E: Serialize + Clone + Send + Sync + 'static,
{
    retried(name, sink, for_files()?, |sink| bounded(Queue::batching(sink, LINES), bound))
}

pub(crate) fn for_files() -> Result<ExponentialBackoff, BuildError> {
    ExponentialBackoff::builder().factor(Duration::from_millis(50)).max(Duration::from_secs(2)).build()
}

fn bounded<E: Send + 'static>(builder: QueueBuilder<E>, bound: Option<u64>) -> QueueBuilder<E> {
    if let Some(bound) = bound { builder.capacity(bound) } else { builder }
}

/// Queue → retry → any sink. `queue` begins the queue, of events or of batches.
pub(crate) fn retried<E, S, R>(
    name: &str,
    sink: S,
    strategy: R,
    queue: impl FnOnce(Arc<RetryingSink<Watched<S>, R>>) -> QueueBuilder<E>,
) -> Result<(Queue<E>, Branch), BuildError>
where
    E: Clone + Send + Sync + 'static,
    S: Send + Sync + 'static,
    R: RetryStrategy + 'static,
{
    let (watched, trouble) = Watched::new(sink);
    // Shared: the queue writes to it, the progress reads its counts.
    let retrying = Arc::new(RetryingSink::named(name, watched, strategy)?);
    let queue = queue(retrying.clone()).name(name).build()?;
    let branch = Branch {
        name: name.to_owned(),
        id: Sink::<E>::id(&queue),
        ledger: Box::new({
            let queue = queue.clone();
            move || queue.ledger()
        }),
        retries: Some(Box::new(move || retrying.stats().retries)),
        breaker: None,
        trouble,
    };
    Ok((queue, branch))
}

pub(crate) fn channel<E: Clone + Send + Sync + 'static>(channel: &Channel<E>) -> Branch {
    Branch {
        name: channel.name().to_owned(),
        id: None,
        ledger: Box::new({
            let channel = channel.clone();
            move || channel.ledger()
        }),
        retries: None,
        breaker: None,
        trouble: Trouble::default(),
    }
}
