//! The endpoints of a file as a pipeline, and the door in front of it: a request's events are all taken, or none of them is.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sinkworks::ndjson::NdjsonFile;
use sinkworks::webhook::Webhook;
use sinkworks::{
    Breaker, Broadcaster, DeadLetter, ExponentialBackoff, Filter, Overflow, Queue, RetryLimit, RetryStrategy, Shutdown,
    Sink, WriteError,
};

use crate::config::{Config, Endpoint};
use crate::letters::LetterFile;
use crate::pipeline::{self, Branch};
use crate::progress::Screen;
use crate::relayed::{AsEndpointWants, Shared};
use crate::run::Outcome;
use crate::tool::account;

/// The largest body that is sent: an event that came in within the largest request fits, however it is wrapped.
const MAX_BODY: usize = 64 << 20;

/// The name of the queue of dead letters, which no endpoint can have.
pub(crate) const LETTERS: &str = "dead-letters";
pub(crate) struct Endpoints {
    pub(crate) specs: Vec<Endpoint>,
    pub(crate) broadcaster: Arc<Broadcaster<Shared>>,
    pub(crate) branches: Vec<Branch>,
    queues: Vec<Queue<Shared>>,
    dead_letters: Option<Queue<DeadLetter<Shared>>>,
    /// Where the dead letters are written.
    pub(crate) letters: Option<NdjsonFile>,
    /// One request at a time: whoever has it has the room that it has seen.
    door: Mutex<()>,
}

/// Why a request's events were not taken. None of them was, but perhaps where the relay is closing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The named endpoint's queue has no room now.
    Full(String),
    /// They would not fit into the named endpoint's queue if it were empty.
    TooMuch(String),
    /// The named endpoint takes nothing any more.
    Gone(String),
    /// The relay is closing.
    Closing,
}

impl Endpoints {
    /// Builds the pipeline. Where the writer shall wait for room, `blocking`, no queue refuses or drops for want of it.
    pub(crate) fn build(config: Config, blocking: bool) -> Result<Self, String> {
        let (broadcaster, mut branches, mut queues) = (Broadcaster::new(), Vec::new(), Vec::new());
        let open = |path| NdjsonFile::append(path).map_err(|error| unusable_letters(path, &error));
        let file = config.dead_letters.as_deref().map(open).transpose()?;
        let letters = file.as_ref().map(|file| letters(file, &config.endpoints)).transpose()?;
        let (dead_letters, letters_branch) = letters.unzip();
        for (index, spec) in config.endpoints.iter().enumerate() {
            let unusable = |error: &dyn std::fmt::Display| format!("{}: {error}", spec.name);
            let (queue, branch) = build(spec, blocking, dead_letters.as_ref()).map_err(|error| unusable(&error))?;
            let filter = Filter::new(queue.clone(), move |event: &Shared| event.is_for(index));
            let added = if spec.required { broadcaster.add_required(filter) } else { broadcaster.add(filter) };
            added.map_err(|error| unusable(&error))?;
            branches.push(branch);
            queues.push(queue);
        }
        branches.extend(letters_branch);
        Ok(Self {
            specs: config.endpoints,
            broadcaster: Arc::new(broadcaster),
            branches,
            queues,
            dead_letters,
            letters: file,
            door: Mutex::new(()),
        })
    }

    /// Gives the events to every queue that they are for, if every required one has room for all of them.
    pub(crate) fn take(&self, events: &[Shared]) -> Result<(), Refused> {
        let _door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = self.gone() {
            return Err(Refused::Gone(name));
        }
        for (index, (spec, queue)) in
            self.specs.iter().zip(&self.queues).enumerate().filter(|(_, (spec, _))| spec.required)
        {
            let (mut count, mut bytes) = (0, 0);
            for event in events.iter().filter(|event| event.is_for(index)) {
                count += 1;
                bytes += event.size();
            }
            if count > spec.capacity || bytes > spec.capacity_bytes {
                return Err(Refused::TooMuch(spec.name.clone()));
            }
            // Nobody else writes meanwhile, so there can only be more room when the events come.
            if queue.ledger().pending + count > spec.capacity
                || queue.bytes().unwrap_or(0) + bytes > spec.capacity_bytes
            {
                return Err(Refused::Full(spec.name.clone()));
            }
        }
        for event in events {
            // There was room: what remains is a close that came in between. Then some of them may be delivered, and the sender is told to repeat them all.
            self.broadcaster.write(event).map_err(|error| match self.gone() {
                Some(name) if !matches!(error, WriteError::Closed) => Refused::Gone(name),
                _ => Refused::Closing,
            })?;
        }
        Ok(())
    }

    /// The first required endpoint that takes nothing any more.
    fn gone(&self) -> Option<String> {
        let mut required = self.specs.iter().zip(&self.queues).filter(|(spec, _)| spec.required);
        required.find(|(_, queue)| queue.is_closed()).map(|(spec, _)| spec.name.clone())
    }

    /// Closes the dead letters, when all else is closed, and says what became of everything. Whether something was lost.
    pub(crate) fn account<T>(&self, screen: &Screen, outcome: &Outcome<T>, grace: Duration) -> bool {
        let mut lost = false;
        if let Some(letters) = &self.dead_letters {
            if let Err(error) = letters.close(Shutdown::within(grace)) {
                screen.message(&format!("relay: closing the dead letters: {error}"));
                lost = true;
            }
            let missing: u64 = self.queues.iter().map(Queue::dead_letters_lost).sum();
            if missing > 0 {
                screen.message(&format!("relay: {missing} dead letters found no room and are gone"));
            }
        }
        account(screen, &self.broadcaster, &self.branches, outcome) || lost
    }

    /// The queues by the names of their endpoints.
    pub(crate) fn by_name(&self) -> HashMap<String, Queue<Shared>> {
        self.specs.iter().map(|spec| spec.name.clone()).zip(self.queues.iter().cloned()).collect()
    }
}

fn unusable_letters(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("dead_letters {}: {error}", path.display())
}

/// Queue → retry with a growing pause → the file of the letters. It has room for all that the endpoints' queues hold: they may drop it at once, when they are closed.
fn letters(file: &NdjsonFile, specs: &[Endpoint]) -> Result<(Queue<DeadLetter<Shared>>, Branch), String> {
    let unusable = |error: &dyn std::fmt::Display| unusable_letters(file.path(), error);
    let backoff = pipeline::for_files().map_err(|error| unusable(&error))?;
    let size = |letter: &DeadLetter<Shared>| letter.event.size();
    pipeline::retried(LETTERS, LetterFile(file.clone()), backoff, |sink| {
        Queue::builder(sink)
            .capacity(specs.iter().map(|spec| spec.capacity).sum())
            .capacity_bytes(specs.iter().map(|spec| spec.capacity_bytes).sum(), size)
            .overflow(Overflow::Reject)
    })
    .map_err(|error| unusable(&error))
}

type Built = Result<(Queue<Shared>, Branch), Box<dyn Error>>;

/// Queue, of batches where the endpoint gets them → retry with backoff, breaker and limits → webhook.
fn build(spec: &Endpoint, blocking: bool, letters: Option<&Queue<DeadLetter<Shared>>>) -> Built {
    let format = AsEndpointWants { format: spec.format, source: spec.source.clone(), kind: spec.kind.clone() };
    let mut webhook = spec
        .tls
        .apply(Webhook::builder(&spec.url))
        .name(&spec.name)
        .addresses(spec.addresses.clone())
        .timeout(spec.timeout)
        .max_body(MAX_BODY);
    if let Some(signer) = &spec.signer {
        webhook = webhook.signer(signer.clone());
    }
    let breaker =
        Breaker::builder().name(&spec.name).threshold(spec.threshold).backoff(spec.breaker_backoff).build()?;
    let backoff = ExponentialBackoff::builder().factor(spec.backoff).max(spec.max_backoff).build()?;
    let mut limit = RetryLimit::attempts(spec.attempts.unwrap_or(u32::MAX));
    if let Some(give_up) = spec.give_up {
        limit = limit.or_elapsed(give_up);
    }
    let strategy = breaker.clone().with_backoff(backoff).limited(limit);
    let overflow = if blocking { Overflow::Block } else { spec.overflow };
    let (queue, mut branch) = pipeline::retried(&spec.name, webhook.format(format).build()?, strategy, |sink| {
        let builder = match &spec.batch {
            Some(batch) => Queue::batching(sink, batch.events).max_batch_bytes(batch.max_bytes),
            None => Queue::builder(sink),
        };
        let builder = builder
            .capacity(spec.capacity)
            .capacity_bytes(spec.capacity_bytes, |event: &Shared| event.size())
            .overflow(overflow);
        if let Some(letters) = letters { builder.dead_letters(letters) } else { builder }
    })?;
    branch.breaker = Some(breaker);
    Ok((queue, branch))
}
