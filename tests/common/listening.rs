//! `relay --listen` as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command};
use std::time::Duration;

use super::relay::{Ended, relay, spawn};

/// A relay that listens.
pub(crate) struct Relay {
    child: Child,
    pub(crate) err: BufReader<ChildStderr>,
    pub(crate) address: String,
    /// With --metrics: where they are served.
    pub(crate) metrics: Option<String>,
}

impl Relay {
    pub(crate) fn start(config: &str, more: &[&str]) -> Self {
        let args = ["--listen", "127.0.0.1:0", "--config", config];
        Self::of(relay(&[&args[..], more].concat()))
    }

    /// What such a command starts.
    pub(crate) fn of(command: Command) -> Self {
        let mut child = spawn(command);
        let mut err = BufReader::new(child.stderr.take().unwrap());
        // With --metrics, where they are is said first.
        let (mut metrics, mut line) = (None, String::new());
        let address = loop {
            line.clear();
            err.read_line(&mut line).unwrap();
            match line.trim().split_once(": http://") {
                Some(("metrics", rest)) => metrics = rest.strip_suffix("/metrics").map(str::to_owned),
                Some(("listening", rest)) => break rest.strip_suffix("/events").unwrap().to_owned(),
                _ => panic!("{line}"),
            }
        };
        Self { child, err, address, metrics }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends these bytes on a connection of their own. The status and the body of the answer.
    pub(crate) fn raw(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // It may be refused before it is sent.
        let _ = stream.write_all(request);
        answer(stream)
    }

    pub(crate) fn post_with(&self, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!("POST /events HTTP/1.1\r\nhost: relay\r\ncontent-length: {length}\r\nconnection: close\r\n");
        self.raw(format!("{head}{headers}\r\n{body}").as_bytes())
    }

    pub(crate) fn post(&self, content_type: &str, body: &str) -> (u16, String) {
        self.post_with(&format!("content-type: {content_type}\r\n"), body)
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as a service manager does, and waits for that.
    pub(crate) fn stop(mut self) -> Ended {
        self.signal("-TERM");
        self.wait()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it says a line with this in it.
    pub(crate) fn hear(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(self.err.read_line(&mut line).unwrap() > 0, "it has never said {text:?}");
        }
    }

    pub(crate) fn wait(&mut self) -> Ended {
        let mut out = String::new();
        let mut err = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.err.read_to_string(&mut err).unwrap();
        Ended { code: self.child.wait().unwrap().code(), out, err }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status and the rest of an answer, its head included. 0 if there was none.
pub(crate) fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

pub(crate) fn endpoint(name: &str, url: &str, more: &str) -> String {
    format!("[[endpoint]]\nname = \"{name}\"\nurl = \"{url}\"\nallow = [\"loopback\"]\n{more}\n")
}
