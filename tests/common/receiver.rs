//! Receivers on the loopback interface: one that speaks HTTP and remembers what was posted, and one that does whatever
//! a test wants with the bare connection.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tiny_http::{Response, Server};

/// One request as it arrived.
#[derive(Clone)]
pub(crate) struct Posted {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) peer: SocketAddr,
}

impl Posted {
    /// The values of a header, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// What to answer: a status, headers and a body.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);

/// An HTTP receiver. A request is remembered before it is answered, so a test need not wait for it.
pub(crate) struct Receiver {
    server: Arc<Server>,
    posts: Arc<Mutex<Vec<Posted>>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn new(answer: impl Fn(&Posted) -> Answer + Send + 'static) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let posts = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let (server, posts) = (server.clone(), posts.clone());
            move || serve(&server, &posts, answer)
        });
        Self { server, posts, thread: Some(thread) }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::new(move |_| (status, Vec::new(), String::new()))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.server_addr())
    }

    pub(crate) fn posts(&self) -> Vec<Posted> {
        self.posts.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.unblock();
        let ended = self.thread.take().map(JoinHandle::join);
        // A panic in a panic would hide the first one.
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "the receiver panicked");
    }
}

fn serve(server: &Server, posts: &Mutex<Vec<Posted>>, answer: impl Fn(&Posted) -> Answer) {
    for mut request in server.incoming_requests() {
        let mut body = Vec::new();
        request.as_reader().read_to_end(&mut body).unwrap();
        let headers = request.headers().iter();
        let posted = Posted {
            method: request.method().to_string(),
            path: request.url().to_owned(),
            headers: headers.map(|h| (h.field.as_str().as_str().to_lowercase(), h.value.to_string())).collect(),
            // What is no text is remembered as far as it is one.
            body: String::from_utf8_lossy(&body).into_owned(),
            peer: *request.remote_addr().unwrap(),
        };
        posts.lock().unwrap().push(posted.clone());
        let (status, headers, body) = answer(&posted);
        let mut response = Response::from_string(body).with_status_code(status);
        for (name, value) in headers {
            response.add_header(tiny_http::Header::from_bytes(name, value).unwrap());
        }
        // The sender may have gone away.
        let _ = request.respond(response);
    }
}

/// Gives the first connection to `serve`. Answers the address and, when joined, what `serve` made of it.
pub(crate) fn raw<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (address, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

/// Reads one request off a bare connection.
pub(crate) fn read_request(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
}
