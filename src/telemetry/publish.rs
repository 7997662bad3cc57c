//! Hands the readings to the recorder of the `metrics` crate.

use std::fmt;
use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics::{KeyName, Level, Metadata, Recorder};

use super::handing_over;
use super::names::{MetricKind, metrics};
use super::observations::Observations;
use super::registry;
use crate::error::BuildError;

pub(super) static METADATA: Metadata<'static> = Metadata::new("sinkworks", Level::INFO, None);

/// Reads all components of the process and hands their totals to the current recorder of the `metrics` crate: the calling
/// thread's local one, or else the global one. Call it right before an exporter renders, or let a [`Publisher`] call it.
///
/// Every call hands over whole totals with handles that it looks up anew. So a recorder that is installed late misses nothing,
/// one that has forgotten an idle series gets it back as it was, and it does no harm when several threads publish, or several
/// parts of a program: a counter keeps the highest total, and a gauge is at worst one reading behind until the next call.
///
/// **Histograms** are different, since a recorder takes samples and no totals: each of them goes to one recorder, the first that takes it, as the upper
/// bound of its [bucket](super::bucket_bounds). So the counts of a recorder with these buckets are exact and its sums too high, by less than half; what a recorder
/// drops for being idle is gone. They are kept until a recorder takes them: one that is installed late gets all, but of components [without a name](super#when-a-component-ends) that ended long before. The endpoint of the feature
/// `prometheus` renders them from the components themselves, with exact sums, and takes none away from others.
///
/// A call costs the caller about half a microsecond per series, a queue having ten: some 5 ms for 1,000 queues. It costs the writers
/// nothing; building and dropping components waits for a fraction of it. Without a recorder it does nothing useful. A component whose last handle is
/// dropped elsewhere during the call ends with the call, on this thread.
///
/// ```
/// use metrics_util::debugging::DebuggingRecorder;
///
/// let recorder = DebuggingRecorder::new();
/// metrics::with_local_recorder(&recorder, sinkworks::telemetry::publish);
/// let _series = recorder.snapshotter().snapshot();
/// ```
pub fn publish() {
    publish_and_read();
}

/// The same, and answers what was read.
pub(super) fn publish_and_read() -> Observations {
    let readings = registry::read();
    metrics::with_recorder(|recorder| {
        describe(recorder);
        hand_over(&readings, recorder);
    });
    readings
}

/// Each time, since nothing tells that the recorder is a new one. It is a few microseconds for the whole table.
fn describe(recorder: &dyn Recorder) {
    for metric in metrics() {
        let name = KeyName::from_const_str(metric.name);
        match metric.kind {
            MetricKind::Counter => recorder.describe_counter(name, Some(metric.unit), metric.help.into()),
            MetricKind::Gauge => recorder.describe_gauge(name, Some(metric.unit), metric.help.into()),
            MetricKind::Histogram => recorder.describe_histogram(name, Some(metric.unit), metric.help.into()),
        }
    }
}

fn hand_over(readings: &Observations, recorder: &dyn Recorder) {
    for (series, total) in &readings.counters {
        recorder.register_counter(&series.key(), &METADATA).absolute(*total);
    }
    for (series, value) in &readings.gauges {
        recorder.register_gauge(&series.key(), &METADATA).set(*value);
    }
    handing_over::hand_over(&readings.histograms, recorder);
}

/// A thread that calls [`publish`] at once, then again and again, and a last time when the publisher is dropped. For exporters
/// that push, or that give no hook before a scrape. It publishes to the global recorder, whenever that is installed.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::telemetry::Publisher;
///
/// let publisher = Publisher::start(Duration::from_secs(5))?;
/// // The service runs …
/// drop(publisher);
/// # Ok::<(), sinkworks::BuildError>(())
/// ```
#[must_use = "dropping it stops the publishing"]
pub struct Publisher {
    /// Dropped first, which tells the thread to stop.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts a thread that publishes, pauses for `every`, and so on. The scrape interval of the system that stores the metrics is a good choice,
    /// and below a second is seldom worth the work: see [`publish`] for the cost.
    ///
    /// # Errors
    ///
    /// [`BuildError::Zero`] if `every` is zero, [`BuildError::Thread`] if the thread cannot be started.
    pub fn start(every: Duration) -> Result<Self, BuildError> {
        if every.is_zero() {
            return Err(BuildError::Zero { option: "every" });
        }
        let (running, stopped) = mpsc::channel::<()>();
        let publishing = move || {
            loop {
                publish_contained();
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    // What was counted since the last tick, for exporters that push once more at the end.
                    publish_contained();
                    break;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("sinkworks-publisher".to_owned())
            .spawn(publishing)
            .map_err(|error| BuildError::Thread(error.kind()))?;
        Ok(Self { running: Some(running), thread: Some(thread) })
    }
}

/// A recorder that panics once must not end the publishing for good. The panic hook has reported it.
fn publish_contained() {
    let _ = panic::catch_unwind(publish);
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // A sink may own the publisher, and the publisher's thread may be the one that ends the sink: it cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
