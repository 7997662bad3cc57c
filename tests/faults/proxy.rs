//! The proxy between the webhooks and the receiver, which does to their requests what the [weather](crate::weather) says.
//!
//! It reads whole requests, since a fault is to strike before, within or after one, and notes of each that it forwarded whether its answer came through.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::crew::{Crew, Door};
use crate::weather::{Fault, Phase, Weather};
use crate::wire::{Event, Message, Wire, reset_when_closed};

/// What became of the answer to a request that has reached the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A 2xx left the proxy for the client, well within the client's timeout.
    Passed,
    /// It came to the client too late, in pieces or not at all.
    Lost,
}

/// What the proxy has done, when it has ended.
pub(crate) struct Proxied {
    pub(crate) weather: Arc<Weather>,
    pub(crate) fates: Vec<(Event, Fate)>,
}

pub(crate) struct Proxy {
    shared: Arc<Shared>,
    crew: Arc<Crew>,
    door: Option<Door>,
    /// Keeps the port while nobody listens: bound, the system gives it to nobody else, and refuses connections.
    _port: Socket,
    address: SocketAddr,
}

struct Shared {
    weather: Arc<Weather>,
    receiver: SocketAddr,
    /// The clients'.
    timeout: Duration,
    seed: u64,
    connections: AtomicU64,
    open: Mutex<Vec<Weak<TcpStream>>>,
    fates: Mutex<Vec<(Event, Fate)>>,
}

impl Proxy {
    pub(crate) fn start(receiver: SocketAddr, timeout: Duration, seed: u64) -> Self {
        let port = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        port.set_reuse_address(true).unwrap();
        port.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let shared = Arc::new(Shared {
            weather: Arc::default(),
            receiver,
            timeout,
            seed,
            connections: AtomicU64::new(0),
            open: Mutex::default(),
            fates: Mutex::default(),
        });
        let address = port.local_addr().unwrap().as_socket().unwrap();
        let mut proxy = Self { shared, crew: Arc::default(), door: None, _port: port, address };
        proxy.turn_to(Phase::Calm);
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this phase prevails.
    pub(crate) fn turn_to(&mut self, phase: Phase) {
        self.shared.weather.turn_to(phase);
        if phase == Phase::Outage {
            self.door.take().into_iter().for_each(Door::close);
            self.shared.hang_up();
        } else if self.door.is_none() {
            let shared = self.shared.clone();
            let door = Door::open(self.address, self.crew.clone(), move |stream| shared.serve(stream));
            self.door = Some(door.unwrap());
        }
    }

    /// Lets what is on its way to the receiver arrive, and ends.
    pub(crate) fn stop(mut self) -> Proxied {
        self.door.take().into_iter().for_each(Door::close);
        self.shared.hang_up();
        self.crew.join();
        let fates = std::mem::take(&mut *self.shared.fates.lock().unwrap());
        Proxied { weather: self.shared.weather.clone(), fates }
    }
}

impl Shared {
    /// Resets every connection to a client.
    fn hang_up(&self) {
        for stream in self.open.lock().unwrap().iter().filter_map(Weak::upgrade) {
            reset_when_closed(&stream);
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut client) = Wire::new(stream) else { return };
        {
            let mut open = self.open.lock().unwrap();
            open.retain(|known| known.strong_count() > 0);
            open.push(Arc::downgrade(&client.stream));
        }
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(number));
        let Ok(mut receiver) = TcpStream::connect(self.receiver).and_then(Wire::new) else { return };
        while let Some(request) = client.receive() {
            // A connection that came in before an outage began and was not yet known to it.
            if self.weather.is_out() {
                return client.reset();
            }
            let fault = self.weather.strike(&mut random);
            let mut exchange = Exchange { shared: self, began: Instant::now(), random: &mut random, request };
            let goes_on = match fault {
                Some(fault) => exchange.suffer(fault, &client, &mut receiver),
                None => exchange.pass(&client, &mut receiver),
            };
            if let Some(fault) = fault {
                self.weather.count(fault);
            }
            match goes_on {
                Next::Request => {}
                Next::End => return,
                Next::Reset => {
                    client.reset();
                    return receiver.reset();
                }
            }
        }
    }
}

/// What becomes of a connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    End,
    Reset,
}

/// A request and its answer.
struct Exchange<'a> {
    shared: &'a Shared,
    began: Instant,
    random: &'a mut fastrand::Rng,
    request: Message,
}

impl Exchange<'_> {
    fn suffer(&mut self, fault: Fault, client: &Wire, receiver: &mut Wire) -> Next {
        match fault {
            Fault::Latency => {
                self.delay(1, 20);
                self.pass(client, receiver)
            }
            Fault::Late => {
                self.delay(80, 200);
                self.pass(client, receiver)
            }
            Fault::ResetBefore => Next::Reset,
            Fault::ResetWithin => {
                let half = &self.request.bytes[..self.random.usize(1..self.request.bytes.len())];
                receiver.send(half).unwrap();
                Next::Reset
            }
            Fault::ResetAfter => {
                self.forward(receiver);
                self.note(Fate::Lost);
                Next::Reset
            }
            Fault::ResetInAnswer => {
                let answer = self.forward(receiver);
                let _ = client.send(&answer.bytes[..self.random.usize(1..answer.head)]);
                self.note(Fate::Lost);
                Next::Reset
            }
            Fault::HalfOpen => {
                client.ignore();
                Next::End
            }
            Fault::HalfOpenAfter => {
                self.forward(receiver);
                self.note(Fate::Lost);
                client.ignore();
                Next::End
            }
            Fault::SlowAnswer => {
                let answer = self.forward(receiver);
                self.note(Fate::Lost);
                self.dribble(client, &answer.bytes)
            }
            Fault::SlowBody => {
                let answer = self.forward(receiver);
                let (head, body) = answer.bytes.split_at(answer.head);
                let sent = client.send(head);
                self.answered(&sent);
                if sent.is_ok() { self.dribble(client, body) } else { Next::End }
            }
            Fault::Status500 => answer(client, "500 Internal Server Error", ""),
            Fault::Status503 => answer(client, "503 Service Unavailable", ""),
            Fault::RetryAfter => answer(client, "503 Service Unavailable", "retry-after: 1\r\n"),
            Fault::BadGateway => {
                self.forward(receiver);
                self.note(Fate::Lost);
                answer(client, "502 Bad Gateway", "")
            }
        }
    }

    /// As a proxy should.
    fn pass(&mut self, client: &Wire, receiver: &mut Wire) -> Next {
        let answer = self.forward(receiver);
        let sent = client.send(&answer.bytes);
        self.answered(&sent);
        if sent.is_ok() { Next::Request } else { Next::End }
    }

    fn forward(&self, receiver: &mut Wire) -> Message {
        receiver.send(&self.request.bytes).unwrap();
        receiver.receive().expect("the receiver answers whatever it has read")
    }

    /// Waits for a random time between these hundredths of the client's timeout.
    fn delay(&mut self, least: u32, most: u32) {
        thread::sleep(self.shared.timeout * self.random.u32(least..most) / 100);
    }

    /// Sends byte by byte, for up to one and a half times as long as the client waits.
    fn dribble(&mut self, client: &Wire, bytes: &[u8]) -> Next {
        let pause = self.shared.timeout * self.random.u32(10..150) / 100 / u32::try_from(bytes.len()).unwrap();
        for byte in bytes.chunks(1) {
            if client.send(byte).is_err() {
                return Next::End;
            }
            thread::sleep(pause);
        }
        Next::Request
    }

    /// A whole head with a 2xx was sent, or was not.
    fn answered(&self, sent: &io::Result<()>) {
        let in_time = self.began.elapsed() < self.shared.timeout / 2;
        self.note(if sent.is_ok() && in_time { Fate::Passed } else { Fate::Lost });
    }

    fn note(&self, fate: Fate) {
        self.shared.fates.lock().unwrap().push((self.request.event(), fate));
    }
}

/// Answers in place of the receiver.
fn answer(client: &Wire, status: &str, headers: &str) -> Next {
    let sent = client.send(format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n").as_bytes());
    if sent.is_ok() { Next::Request } else { Next::End }
}
