//! Ends the process when a case hangs, and says which.

use std::fmt::Debug;
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Far more than a case takes, which is some milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs one case. A case that hangs cannot be shrunk: what it was is printed past the test's captured output.
pub(crate) fn watched<P: Debug + Send + Clone + 'static>(name: &'static str, seed: u64, plan: &P, run: impl FnOnce()) {
    thread_local! {
        /// One watcher for each thread that runs cases, since a thread for each case would cost more than the case.
        static WATCHER: std::cell::OnceCell<std::sync::mpsc::Sender<Option<Case>>> = const { std::cell::OnceCell::new() };
    }
    WATCHER.with(|watcher| {
        let watcher = watcher.get_or_init(start);
        watcher.send(Some(Case { name, seed, plan: Box::new(plan.clone()) })).unwrap();
        let done = Done(watcher);
        run();
        drop(done);
    });
}

struct Case {
    name: &'static str,
    seed: u64,
    plan: Box<dyn Debug + Send>,
}

struct Done<'a>(&'a std::sync::mpsc::Sender<Option<Case>>);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.send(None).unwrap();
    }
}

fn start() -> std::sync::mpsc::Sender<Option<Case>> {
    let (tell, told) = channel::<Option<Case>>();
    thread::spawn(move || {
        while let Ok(begun) = told.recv() {
            let Some(case) = begun else { continue };
            if told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let Case { name, seed, plan } = case;
                let text = format!("{name}: hangs for {PATIENCE:?}, SINKWORKS_SEED={seed}\n{plan:#?}\n");
                std::io::stderr().write_all(text.as_bytes()).unwrap();
                std::process::exit(101);
            }
        }
    });
    tell
}

impl PartialEq for Case {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}
