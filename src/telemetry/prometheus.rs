//! A recorder and an endpoint for Prometheus, for services that have none.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::exposition::{WithoutOurs, families};
use super::health::{Stalled, health};
use super::http::{Answer, Request, Server};
use super::publish::publish_and_read;
use super::topology::topology;

/// The text format's own content type.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const MERMAID: &str = "text/vnd.mermaid";
const MERMAID_TYPE: &str = "text/vnd.mermaid; charset=utf-8";

/// How often the server looks whether the pools make progress.
const LOOKS: Duration = Duration::from_secs(1);

/// Why the metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on: it is in use, not this machine's, not permitted, or its name does not resolve.
    #[error("cannot listen on the address: {0}")]
    Address(#[source] io::Error),
    /// Another global recorder of the `metrics` crate is installed, and there can be only one. Render with its own exporter, after a call of
    /// [`publish`](super::publish).
    #[error("another global metrics recorder is already installed")]
    RecorderInstalled,
    /// The operating system would not start a thread. The recorder has been installed.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The recorder that [`serve`] and [`Exporter::install`] share. It cannot be taken out again.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// A global recorder that renders all metrics of the process, this crate's and the service's own, in the Prometheus text format. For services
/// that have an HTTP server already; the others call [`serve`].
///
/// ```
/// use sinkworks::telemetry::Exporter;
///
/// let exporter = Exporter::install()?;
/// // In the handler of GET /metrics:
/// let body = exporter.render();
/// assert!(body.is_empty() || body.starts_with("# "));
/// # Ok::<(), sinkworks::telemetry::ServeError>(())
/// ```
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Installs the recorder. What the components of this crate counted before is not lost. Installing it again answers the same one.
    ///
    /// # Errors
    ///
    /// [`ServeError::RecorderInstalled`] if the process has another global recorder.
    pub fn install() -> Result<Self, ServeError> {
        // The lock is held while installing, so that of two callers one installs and the other finds it.
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*installed {
            return Ok(Self { handle: handle.clone() });
        }
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(WithoutOurs(recorder)).map_err(|_| ServeError::RecorderInstalled)?;
        *installed = Some(handle.clone());
        Ok(Self { handle })
    }

    /// Publishes, and renders all metrics with the content type `text/plain; version=0.0.4; charset=utf-8`. Families are in the order of their names.
    ///
    /// It costs about a microsecond per series, a queue having some twenty: 22 ms for 1,000 queues. The exporter keeps every sample of a histogram until
    /// it renders, so where histograms are recorded, render from time to time even if nobody asks.
    #[must_use]
    pub fn render(&self) -> String {
        render(&self.handle)
    }
}

/// Publishes, then renders what the recorder behind `handle` has, and our own metrics.
pub(super) fn render(handle: &PrometheusHandle) -> String {
    let ours = families(&publish_and_read());
    handle.run_upkeep();
    sort_families(&handle.render(), &ours)
}

/// The exporter's order is a hash map's, which hides the difference between two scrapes. It puts an empty line after each family and none elsewhere, since
/// labels and help texts have their newlines escaped. Lines within a family stay as they are: a histogram's have an order.
fn sort_families(others: &str, ours: &[String]) -> String {
    let ours = ours.iter().map(String::as_str);
    let mut families: Vec<&str> = others.split_inclusive("\n\n").chain(ours).collect();
    // `# HELP name …` or `# TYPE name …`.
    families.sort_by_key(|family| family.split_ascii_whitespace().nth(2));
    families.concat()
}

/// An HTTP endpoint for a Prometheus scrape, until it is dropped.
#[must_use = "dropping it stops the server"]
pub struct MetricsServer {
    exporter: Exporter,
    server: Server,
    _watcher: Watcher,
}

impl fmt::Debug for MetricsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsServer").field("local_addr", &self.local_addr()).finish_non_exhaustive()
    }
}

impl MetricsServer {
    /// The address it listens on: with port 0 the one that the operating system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// What a scrape would get. See [`Exporter::render`].
    #[must_use]
    pub fn render(&self) -> String {
        self.exporter.render()
    }
}

/// Installs the recorder, as [`Exporter::install`] does, and serves it over HTTP. There is no encryption and no authentication, so bind to a loopback or an
/// internal address.
///
/// | `GET` | answer |
/// |---|---|
/// | `/metrics` | publishes and renders the metrics |
/// | `/healthz` | 200 while the pools make progress; 503 with the reasons when queues of one have waited for a thread for more than 5 seconds and none has got one: see [`health`] |
/// | `/pipeline` | the [topology] as JSON |
/// | `/pipeline.mmd` | the same as a Mermaid diagram; so does `/pipeline?format=mermaid`, and `Accept: text/vnd.mermaid` |
///
/// Two threads answer, each one request at a time. A client has 5 seconds to send its request and 10 to take the answer, so that slow ones delay
/// others for that long at most. A third looks at the pools once a second. Dropping the server cuts open connections off and returns when its threads have
/// ended; the recorder stays, and a later `serve` uses it again.
///
/// ```
/// use sinkworks::telemetry::serve;
///
/// let server = serve("127.0.0.1:0")?;
/// println!("metrics at http://{}/metrics", server.local_addr());
/// # Ok::<(), sinkworks::telemetry::ServeError>(())
/// ```
///
/// # Errors
///
/// [`ServeError::Address`] if the address cannot be listened on; then nothing has been installed. The others as they say.
pub fn serve(addr: impl ToSocketAddrs) -> Result<MetricsServer, ServeError> {
    // The listener first, since an installed recorder cannot be taken back.
    let listener = TcpListener::bind(addr).map_err(ServeError::Address)?;
    let exporter = Exporter::install()?;
    let renderer = exporter.clone();
    let server = Server::start(listener, move |request| answer(request, &renderer)).map_err(ServeError::Thread)?;
    let watcher = Watcher::start().map_err(ServeError::Thread)?;
    Ok(MetricsServer { exporter, server, _watcher: watcher })
}

fn answer(request: &Request<'_>, exporter: &Exporter) -> Option<Answer> {
    let ok = |content_type, body| Some(Answer { status: "200 OK", content_type, body });
    match (request.path, request.query) {
        ("/metrics", _) => ok(CONTENT_TYPE, exporter.render()),
        ("/healthz", _) => Some(healthz(&health())),
        // The registered type for those who ask for it; plain text for browsers, which would save the other.
        ("/pipeline", "") if request.accepts(MERMAID) => ok(MERMAID_TYPE, topology().to_mermaid()),
        ("/pipeline.mmd", _) | ("/pipeline", "format=mermaid") => ok(TEXT, topology().to_mermaid()),
        ("/pipeline", "" | "format=json") => ok("application/json", topology().to_json()),
        ("/pipeline", _) => Some(Answer::plain("400 Bad Request")),
        _ => None,
    }
}

fn healthz(stalled: &[Stalled]) -> Answer {
    if stalled.is_empty() {
        return Answer { status: "200 OK", content_type: TEXT, body: "ok".to_owned() };
    }
    let body = stalled.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Answer { status: "503 Service Unavailable", content_type: TEXT, body }
}

/// A thread that looks at the pools' health once a second, until it is dropped: what is stuck is then known within six seconds, however seldom
/// somebody asks.
struct Watcher {
    /// Dropped first, which tells the thread to stop.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    fn start() -> io::Result<Self> {
        let (running, stopped) = mpsc::channel::<()>();
        let watch = move || {
            while stopped.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
                drop(health());
            }
        };
        let thread = thread::Builder::new().name("sinkworks-health".to_owned()).spawn(watch)?;
        Ok(Self { running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.running.take());
        // A look may end a component that owns the server: the thread cannot wait for itself.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}
