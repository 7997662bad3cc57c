//! A listener whose connections are served by a thread each.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The threads that serve connections. One that panics fails whoever waits for them.
#[derive(Default)]
pub(crate) struct Crew(Mutex<Vec<JoinHandle<()>>>);

impl Crew {
    fn hire(&self, work: impl FnOnce() + Send + 'static) {
        let mut threads = self.0.lock().unwrap();
        // Of those that have ended the stacks are given back now: there are thousands in a minute.
        let (ended, running): (Vec<_>, _) = threads.drain(..).partition(JoinHandle::is_finished);
        *threads = running;
        for thread in ended {
            thread.join().unwrap();
        }
        threads.push(thread::Builder::new().stack_size(128 << 10).spawn(work).unwrap());
    }

    /// Waits until all have ended.
    pub(crate) fn join(&self) {
        // Taken out first: nobody is hired by those that are waited for.
        let threads = std::mem::take(&mut *self.0.lock().unwrap());
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

/// A listener that is open. Closed, the system refuses connections to its address.
pub(crate) struct Door {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Door {
    /// Gives every connection to `serve` on a thread of its own.
    pub(crate) fn open(
        address: SocketAddr,
        crew: Arc<Crew>,
        serve: impl Fn(TcpStream) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let closing = Arc::new(AtomicBool::new(false));
        let seen = closing.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                // A client that has gone already is an error of the accept.
                let Ok(stream) = stream else { continue };
                let serve = serve.clone();
                crew.hire(move || serve(stream));
            }
        });
        Ok(Self { address, closing, thread })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn close(self) {
        self.closing.store(true, Ordering::Release);
        // Wakes the thread.
        drop(TcpStream::connect(self.address));
        self.thread.join().unwrap();
    }
}
