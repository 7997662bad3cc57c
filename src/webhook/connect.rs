//! The TCP connections of a webhook.
//!
//! The HTTP client uses them for the first request of each and for all that is encrypted, an [`exchange`](super::exchange) for the others. The client's own would do, but for two things:
//!
//! - **Safety.** Here is the place where an address is about to be connected to, so here the [`AddressPolicy`] is asked.
//! - **Speed.** The client sends a request's head and its body apart, which wakes a receiver on a fast network twice, sets both timeouts of the socket anew for
//!   each request, and looks twice between two requests whether the connection is still open. Here the head waits for the body (or for whoever reads), a timeout is
//!   set only where it differs in size, and one look is enough. Measured over loopback on 2 cores, with a receiver that answers at once: 33 µs a post with the client's
//!   own connections, 18 µs with these; a bare write and read take 17 µs.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::time::Duration as ClientDuration;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::address::AddressPolicy;

/// The sizes of a connection's buffers in bytes, not the client's 128 KiB each: every webhook keeps a connection, and a service can have
/// thousands of them. The first bounds the headers of an answer as well.
pub(super) const INPUT_BUFFER: usize = 16 * 1024;
pub(super) const OUTPUT_BUFFER: usize = 12 * 1024;

/// How much of a request may wait for the rest of it. What is left of the buffer takes the longest header that a webhook may have: the client
/// does not split a header.
const MAX_HELD: usize = OUTPUT_BUFFER - MAX_HEADER;
pub(super) const MAX_HEADER: usize = 8 * 1024;

/// Connects to addresses that the policy allows.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) policy: AddressPolicy,
    /// Whether connections may go through a proxy.
    pub(super) proxied: bool,
}

impl<In: Transport> Connector<In> for Guarded {
    type Out = Either<In, Connection>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        // What a proxy has connected.
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        // The client connects to a proxy as if there were none. The operator chose it, not whoever named the endpoint.
        let is_proxy = self.proxied && details.config.proxy().is_none();
        let stream = self.first(details, is_proxy)?;
        stream.set_nodelay(true)?;
        Ok(Some(Either::B(Connection::new(stream))))
    }
}

impl Guarded {
    /// The first address that may be connected to and answers. Each gets its share of the time that is left.
    fn first(&self, details: &ConnectionDetails, is_proxy: bool) -> Result<TcpStream, Error> {
        let deadline = remaining(details.timeout).map(|left| Instant::now() + left);
        let mut last = Error::HostNotFound;
        let mut left = details.addrs.len();
        for address in &details.addrs {
            left -= 1;
            if !is_proxy {
                if let Err(refused) = self.policy.check(address.ip()) {
                    // Where another address was tried, how that went says more.
                    if matches!(last, Error::HostNotFound) {
                        last = Error::Other(Box::new(refused));
                    }
                    continue;
                }
            }
            let connected = match deadline {
                None => TcpStream::connect(address),
                Some(deadline) => {
                    let time = deadline.saturating_duration_since(Instant::now());
                    if time.is_zero() {
                        return Err(Error::Timeout(details.timeout.reason));
                    }
                    let share = time / u32::try_from(left + 1).unwrap_or(u32::MAX);
                    TcpStream::connect_timeout(address, share.max(Duration::from_millis(1)))
                }
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) if is_timeout(&error) => last = Error::Timeout(details.timeout.reason),
                Err(error) => last = Error::Io(error),
            }
        }
        Err(last)
    }
}

/// One TCP connection. What is sent waits in the buffer until it is full enough, or until somebody reads.
pub(super) struct Connection {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// How much of the output buffer is not sent yet.
    held: usize,
    /// The timeouts that the socket has.
    write_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    /// Whether something has been read since the last look whether the connection is open.
    is_fresh: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let buffers = LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER);
        Self { stream, buffers, held: 0, write_timeout: None, read_timeout: None, is_fresh: false }
    }

    fn flush(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        let mut patience = Patience::begin(timeout.for_write())?;
        let (mut sent, held) = (0, std::mem::take(&mut self.held));
        while sent < held {
            patience.apply(&mut self.write_timeout, |wait| self.stream.set_write_timeout(wait))?;
            match self.stream.write(&self.buffers.output()[sent..held]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(written) => {
                    sent += written;
                    if sent < held {
                        patience.go_on()?;
                    }
                }
                Err(error) => patience.is_over(error)?,
            }
        }
        Ok(())
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held += amount;
        if self.held > MAX_HELD { self.flush(timeout) } else { Ok(()) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let mut patience = Patience::begin(timeout.for_read())?;
        if self.held > 0 {
            self.flush(timeout)?;
            patience.go_on()?;
        }
        loop {
            patience.apply(&mut self.read_timeout, |wait| self.stream.set_read_timeout(wait))?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    self.is_fresh = true;
                    return Ok(read > 0);
                }
                Err(error) => patience.is_over(error)?,
            }
        }
    }

    /// The client asks after an answer, and again before the next request. Only the second time can tell more than the read did.
    fn is_open(&mut self) -> bool {
        std::mem::take(&mut self.is_fresh) || is_quiet(&self.stream)
    }
}

/// Whether there is nothing to read: neither the end of the connection, nor what nobody has asked for.
#[cfg(unix)]
fn is_quiet(stream: &TcpStream) -> bool {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let peeked = socket2::SockRef::from(stream).recv_with_flags(&mut [std::mem::MaybeUninit::uninit()], flags);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(not(unix))]
fn is_quiet(stream: &TcpStream) -> bool {
    let peek = || stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(true).is_ok() && peek() && stream.set_nonblocking(false).is_ok()
}

impl Buffers for Connection {
    /// Behind what waits.
    fn output(&mut self) -> &mut [u8] {
        &mut self.buffers.output()[self.held..]
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        let (temporary, output) = self.buffers.tmp_and_output();
        (temporary, &mut output[self.held..])
    }

    fn input(&self) -> &[u8] {
        self.buffers.input()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.buffers.input_append_buf()
    }

    fn input_appended(&mut self, amount: usize) {
        self.buffers.input_appended(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.buffers.input_consume(amount);
    }

    fn can_use_input(&self) -> bool {
        self.buffers.can_use_input()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// How long one operation on the socket may still take.
///
/// To set a timeout is a call into the system. So the first wait is the time that is left, rounded down to one of a few sizes, which the socket has mostly got
/// already; only where that was not enough is the rest set exactly.
struct Patience {
    timeout: NextTimeout,
    deadline: Option<Instant>,
    wait: Option<Duration>,
}

impl Patience {
    /// Fails where no time is left: who reads an encrypted record a byte at a time asks again and again, and looks at no clock.
    fn begin(timeout: NextTimeout) -> Result<Self, Error> {
        let left = remaining(timeout);
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::Timeout(timeout.reason));
        }
        Ok(Self { timeout, deadline: left.map(|left| Instant::now() + left), wait: left.map(coarse) })
    }

    /// A part is done, which may have taken the whole wait. The next may not take it again.
    fn go_on(&mut self) -> Result<(), Error> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(self.timeout.reason));
        }
        self.wait = self.wait.map(|wait| wait.min(left));
        Ok(())
    }

    fn apply(
        &self,
        current: &mut Option<Duration>,
        set: impl FnOnce(Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        if *current != self.wait {
            set(self.wait)?;
            *current = self.wait;
        }
        Ok(())
    }

    /// After an operation that failed: `Ok` if it is to be repeated.
    fn is_over(&mut self, error: io::Error) -> Result<(), Error> {
        if !is_timeout(&error) && error.kind() != ErrorKind::Interrupted {
            return Err(error.into());
        }
        let Some(deadline) = self.deadline else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(self.timeout.reason));
        }
        self.wait = Some(left);
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn remaining(timeout: NextTimeout) -> Option<Duration> {
    match timeout.after {
        ClientDuration::Exact(left) => Some(left),
        ClientDuration::NotHappening => None,
    }
}

/// The time in milliseconds with its three leading bits only: 15 s and a little less are both 14.336 s.
fn coarse(left: Duration) -> Duration {
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let Some(digits) = millis.checked_ilog2() else {
        // Zero would mean for ever.
        return left.max(Duration::from_micros(1));
    };
    let dropped = digits.saturating_sub(2);
    Duration::from_millis((millis >> dropped) << dropped)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{IpAddr, SocketAddr, TcpListener};
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};

    use ureq::Agent;
    use ureq::config::Config;
    use ureq::http::Uri;
    use ureq::tls::TlsConfig;
    use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
    use ureq::unversioned::transport::RustlsConnector;

    use super::super::address::{AddressKind, RefusedAddress};
    use super::*;

    /// Finds other addresses each time.
    #[derive(Debug)]
    struct Rebinding {
        port: u16,
        answers: Mutex<Vec<Vec<IpAddr>>>,
    }

    impl Resolver for Rebinding {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
            let mut found = self.empty();
            for ip in self.answers.lock().unwrap().remove(0) {
                found.push(SocketAddr::new(ip, self.port));
            }
            Ok(found)
        }
    }

    fn refused(error: Error) -> AddressKind {
        let Error::Other(error) = error else { panic!("{error:?}") };
        error.downcast::<RefusedAddress>().unwrap().kind()
    }

    #[test]
    fn a_name_that_stands_for_another_address_the_next_time_is_looked_at_again() {
        // A receiver at every address of this machine. It says that it closes after each answer.
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = std::thread::spawn(move || {
            let mut peers = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                peers.push(stream.local_addr().unwrap().ip());
                let _ = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            }
            peers
        });
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (good, evil) = (ip("127.0.0.1"), ip("127.0.0.2"));
        let answers = vec![vec![good], vec![evil], vec![ip("169.254.169.254"), evil], vec![evil, good], Vec::new()];
        let policy = AddressPolicy::public_only().allow("127.0.0.1".parse().unwrap());
        let agent = Agent::with_parts(
            Config::builder().proxy(None).build(),
            Guarded { policy, proxied: false },
            Rebinding { port, answers: Mutex::new(answers) },
        );
        let send = || agent.post(format!("http://rebinding.example:{port}/")).send("x");
        assert!(send().is_ok());
        assert_eq!(refused(send().unwrap_err()), AddressKind::Loopback);
        assert_eq!(refused(send().unwrap_err()), AddressKind::LinkLocal);
        assert!(send().is_ok(), "the other address is allowed");
        assert!(matches!(send(), Err(Error::HostNotFound)));
        assert_eq!(receiver.join().unwrap(), [good, good]);
    }

    /// Serves requests over TLS with a certificate of its own, as many connections as there are numbers, each with as many requests. Says when it has closed one.
    /// Answers the sizes of the bodies.
    fn tls_receiver(
        listener: TcpListener,
        connections: &'static [usize],
        closed: mpsc::Sender<()>,
    ) -> std::thread::JoinHandle<Vec<usize>> {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private.into());
        let config = Arc::new(config.unwrap());
        std::thread::spawn(move || {
            let mut sizes = Vec::new();
            for requests in connections {
                let session = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = BufReader::new(rustls::StreamOwned::new(session, listener.accept().unwrap().0));
                for _ in 0..*requests {
                    let mut size = 0;
                    loop {
                        let mut line = String::new();
                        stream.read_line(&mut line).unwrap();
                        if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
                            size = length.trim().parse().unwrap();
                        }
                        if line == "\r\n" {
                            break;
                        }
                    }
                    stream.read_exact(&mut vec![0; size]).unwrap();
                    sizes.push(size);
                    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                }
                stream.get_mut().conn.send_close_notify();
                let _ = stream.get_mut().flush();
                drop(stream);
                let _ = closed.send(());
            }
            sizes
        })
    }

    #[test]
    fn requests_over_tls_arrive_whole_and_use_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let resolver = Rebinding {
            port: listener.local_addr().unwrap().port(),
            answers: Mutex::new(vec![vec![IpAddr::from([127, 0, 0, 1])]; 5]),
        };
        let (closed, has_closed) = mpsc::channel();
        let receiver = tls_receiver(listener, &[4, 1], closed);
        // The certificate is nobody's. What is tested is the way of the bytes.
        let tls = TlsConfig::builder().disable_verification(true).build();
        let config = Config::builder().proxy(None).tls_config(tls).timeout_global(Some(Duration::from_secs(60)));
        let guarded = Guarded { policy: AddressPolicy::public_only().allow_loopback(), proxied: false };
        let agent = Agent::with_parts(config.build(), guarded.chain(RustlsConnector::default()), resolver);
        let sizes = [1, 0, 100_000, 20_000, 7];
        for (request, size) in sizes.into_iter().enumerate() {
            if request == 4 {
                // A request that meets the close on its way may fail: see `is_quiet`.
                has_closed.recv().unwrap();
            }
            let mut answer = agent.post(&url).send(&vec![b'x'; size]).unwrap();
            assert_eq!(answer.body_mut().read_to_string().unwrap(), "ok");
        }
        assert_eq!(receiver.join().unwrap(), sizes);
    }

    #[test]
    fn what_is_sent_waits_for_the_rest_until_somebody_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let mut peer = listener.accept().unwrap().0;
        peer.set_nonblocking(true).unwrap();
        let mut buffer = [0; OUTPUT_BUFFER];
        for part in ["head", "body"] {
            connection.buffers().output()[..4].copy_from_slice(part.as_bytes());
            connection.transmit_output(4, NextTimeout::default()).unwrap();
            assert_eq!(peer.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        peer.write_all(b"answer").unwrap();
        assert!(connection.await_input(NextTimeout::default()).unwrap());
        assert_eq!((connection.input(), peer.read(&mut buffer).unwrap()), (&b"answer"[..], 8));
        assert_eq!(&buffer[..8], b"headbody");
        // More than may wait goes out, and there is always room for a header.
        connection.transmit_output(MAX_HELD + 1, NextTimeout::default()).unwrap();
        assert_eq!(peer.read(&mut buffer).unwrap(), MAX_HELD + 1);
        connection.transmit_output(MAX_HELD, NextTimeout::default()).unwrap();
        assert_eq!(connection.buffers().output().len(), MAX_HEADER);
    }

    #[test]
    fn a_wait_that_was_too_short_is_followed_by_the_rest_of_the_time() {
        let within = |left: Duration| NextTimeout { after: left.into(), ..NextTimeout::default() };
        let elapsed = || io::Error::from(ErrorKind::WouldBlock);
        let mut patience = Patience::begin(within(Duration::from_secs(15))).unwrap();
        assert_eq!(patience.wait, Some(Duration::from_millis(14_336)));
        patience.is_over(elapsed()).unwrap();
        assert!(patience.wait.is_some_and(|rest| rest > Duration::from_millis(14_336)), "{:?}", patience.wait);
        patience.is_over(io::Error::from(ErrorKind::Interrupted)).unwrap();
        assert!(matches!(patience.is_over(io::Error::from(ErrorKind::ConnectionReset)), Err(Error::Io(_))));
        assert!(matches!(Patience::begin(within(Duration::ZERO)), Err(Error::Timeout(_))));
        let mut patience = Patience::begin(within(Duration::from_nanos(1))).unwrap();
        assert!(matches!(patience.go_on(), Err(Error::Timeout(_))));
        assert!(matches!(patience.is_over(elapsed()), Err(Error::Timeout(_))));
        let mut patience = Patience::begin(within(Duration::from_secs(15))).unwrap();
        patience.deadline = Some(Instant::now() + Duration::from_secs(3));
        patience.go_on().unwrap();
        assert!(patience.wait.is_some_and(|wait| wait <= Duration::from_secs(3)), "no part gets the whole wait");
    }

    #[test]
    fn a_coarse_time_is_shorter_by_a_quarter_at_most_and_never_zero() {
        for micros in (0..5_000).chain((0..60).map(|power| (1_u64 << power) - 1)).chain((0..60).map(|power| 1 << power))
        {
            let exact = Duration::from_micros(micros);
            let coarse = coarse(exact);
            assert!(!coarse.is_zero() && coarse <= exact.max(Duration::from_micros(1)), "{exact:?}");
            assert!(exact < Duration::from_millis(4) || coarse >= exact * 3 / 4, "{exact:?} {coarse:?}");
        }
        assert_eq!(coarse(Duration::from_secs(15)), coarse(Duration::from_micros(14_999_500)));
    }
}
