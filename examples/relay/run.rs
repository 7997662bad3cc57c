//! The life of a pipeline: feed it, show it, close it within a deadline, listen to signals all the while.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use sinkworks::ndjson::NdjsonFile;
use sinkworks::{Broadcaster, CloseError, CloseReport, Shutdown, Sink};

use crate::INTERRUPTED;
use crate::pipeline::Branch;
use crate::progress::Screen;

/// How often the screen is drawn where it is redrawn in place.
const LIVE: Duration = Duration::from_millis(100);
/// How often is looked whether everything is delivered.
const SOON: Duration = Duration::from_millis(5);
/// How long a source is waited for that has been told that the pipeline is closed. It may sit in a read that never returns.
const SOURCE_PATIENCE: Duration = Duration::from_millis(100);

pub(crate) struct Plan {
    /// How long closing may take.
    pub(crate) grace: Duration,
    /// Whether closing waits, when the source has ended, for as long as something is delivered once in each `grace`: a destination that
    /// is slow but works loses nothing.
    pub(crate) patient: bool,
    /// How often progress is shown where it cannot be redrawn, if at all.
    pub(crate) plain_progress: Option<Duration>,
    pub(crate) hang_up: HangUp,
}

/// What SIGHUP does.
pub(crate) enum HangUp {
    /// It ends, as with every other signal to end: the terminal is gone.
    Ends,
    /// Who rotates files has renamed this one, if there is one: it is opened anew.
    Reopens(Option<NdjsonFile>),
}

pub(crate) struct Outcome<T> {
    pub(crate) report: Result<CloseReport, CloseError>,
    /// What the source answered. `None` if it panicked, or had not ended when everything was closed.
    pub(crate) source: Option<T>,
    pub(crate) interrupted: bool,
}

enum Happening<T> {
    SourceEnded(Option<T>),
    CtrlC,
    HangUp,
    Closed(Result<CloseReport, CloseError>),
}

/// Runs `source`, which writes into the broadcaster until it has no more or is told that it is closed, and then closes.
pub(crate) fn run<E, T>(
    broadcaster: &Arc<Broadcaster<E>>,
    branches: &[Branch],
    screen: &Screen,
    plan: &Plan,
    source: impl FnOnce(&Broadcaster<E>) -> T + Send + 'static,
) -> io::Result<Outcome<T>>
where
    E: 'static,
    T: Send + 'static,
{
    let (happens, happenings) = mpsc::channel();
    listen_to_signals(happens.clone(), matches!(plan.hang_up, HangUp::Ends))?;
    // A thread of its own: nothing interrupts a read from a terminal or a pipe.
    thread::spawn({
        let (broadcaster, happens) = (broadcaster.clone(), happens.clone());
        move || {
            let source = std::panic::AssertUnwindSafe(|| source(&broadcaster));
            let _ = happens.send(Happening::SourceEnded(std::panic::catch_unwind(source).ok()));
        }
    });
    let close = |grace| {
        let (broadcaster, happens) = (broadcaster.clone(), happens.clone());
        thread::spawn(move || happens.send(Happening::Closed(broadcaster.close(Shutdown::within(grace)))));
    };
    let mut display = Display { branches, screen, began: Instant::now(), shown: Duration::ZERO, plan };
    let (mut source, mut source_ended, mut closing, mut interrupted) = (None, false, false, false);
    let mut rest: Option<Rest> = None;
    let report = loop {
        match happenings.recv_timeout(if rest.is_some() { SOON } else { LIVE }) {
            Ok(Happening::SourceEnded(end)) => {
                (source, source_ended) = (end, true);
                rest = Some(Rest::new(plan, branches));
            }
            Ok(Happening::CtrlC) => {
                interrupted = true;
                if closing {
                    screen.message("giving up what is pending");
                    // Makes the close that is under way stricter; its thread brings the report.
                    let _ = broadcaster.poll_close(Shutdown::Abort, Waker::noop());
                } else {
                    let grace = plan.grace.as_secs_f64();
                    screen.message(&format!("closing within {grace} s; Ctrl-C again gives up what is pending"));
                    closing = true;
                    close(plan.grace);
                }
            }
            Ok(Happening::HangUp) => {
                let file = if let HangUp::Reopens(file) = &plan.hang_up { file.as_ref() } else { None };
                file.map(NdjsonFile::reopen);
                screen.message(if file.is_some() {
                    "SIGHUP: the file of dead letters is opened anew before the next"
                } else {
                    "SIGHUP: there is no file of dead letters to open anew"
                });
            }
            Ok(Happening::Closed(report)) => break report,
            // This function holds a sender.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if let Some(grace) = rest.as_mut().filter(|_| !closing).and_then(Rest::is_over) {
            closing = true;
            close(grace);
        }
        display.tick();
    };
    if !source_ended {
        if let Ok(Happening::SourceEnded(end)) = happenings.recv_timeout(SOURCE_PATIENCE) {
            source = end;
        }
    }
    display.end();
    Ok(Outcome { report, source, interrupted })
}

/// Ctrl-C, SIGTERM, and SIGHUP, which may be one of those that end.
#[cfg(unix)]
fn listen_to_signals<T: Send + 'static>(happens: Sender<Happening<T>>, hang_up_ends: bool) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let pressed = AtomicU32::new(0);
        for signal in signals.forever() {
            if signal == SIGHUP && !hang_up_ends {
                // When everything is closed and said, there is nothing to open anew.
                let _ = happens.send(Happening::HangUp);
            } else {
                press(&pressed, &happens);
            }
        }
    });
    Ok(())
}

/// Ctrl-C.
#[cfg(not(unix))]
fn listen_to_signals<T: Send + 'static>(happens: Sender<Happening<T>>, _hang_up_ends: bool) -> io::Result<()> {
    let pressed = AtomicU32::new(0);
    ctrlc::set_handler(move || press(&pressed, &happens)).map_err(io::Error::other)
}

fn press<T>(pressed: &AtomicU32, happens: &Sender<Happening<T>>) {
    // The third time somebody means it, whatever this program is doing.
    let is_meant = pressed.fetch_add(1, Ordering::Relaxed) >= 2;
    // Else: everything is closed and said.
    if is_meant || happens.send(Happening::CtrlC).is_err() {
        std::process::exit(i32::from(INTERRUPTED));
    }
}

/// What is left to deliver when the source has ended.
struct Rest<'a> {
    plan: &'a Plan,
    branches: &'a [Branch],
    delivered: u64,
    /// When something was delivered last.
    moved: Instant,
}

impl<'a> Rest<'a> {
    fn new(plan: &'a Plan, branches: &'a [Branch]) -> Self {
        Self { plan, branches, delivered: 0, moved: Instant::now() }
    }

    /// If it is time to close: how long that may take.
    fn is_over(&mut self) -> Option<Duration> {
        let ledgers = || self.branches.iter().map(Branch::ledger);
        if !self.plan.patient || ledgers().all(|ledger| ledger.pending == 0) {
            return Some(self.plan.grace);
        }
        let delivered = ledgers().map(|ledger| ledger.delivered).sum();
        if delivered != self.delivered {
            (self.delivered, self.moved) = (delivered, Instant::now());
        }
        (self.moved.elapsed() >= self.plan.grace).then_some(Duration::ZERO)
    }
}

struct Display<'a> {
    branches: &'a [Branch],
    screen: &'a Screen,
    began: Instant,
    /// When it was drawn last, since it began.
    shown: Duration,
    plan: &'a Plan,
}

impl Display<'_> {
    fn tick(&mut self) {
        for news in self.branches.iter().filter_map(Branch::news) {
            self.screen.message(&news);
        }
        let every = if self.screen.is_live() { Some(LIVE) } else { self.plan.plain_progress };
        let now = self.began.elapsed();
        if every.is_some_and(|every| now >= self.shown + every) {
            self.shown = now;
            self.draw();
        }
    }

    fn draw(&self) {
        let time = match self.began.elapsed().as_secs_f64() {
            // Redrawn in place, it is now.
            _ if self.screen.is_live() => String::new(),
            time => format!("{time:5.1} s  "),
        };
        self.screen.draw(self.branches.iter().map(|branch| format!("{time}{}", branch.status())).collect());
    }

    /// Shows the end, so that what is left on the screen is true.
    fn end(&self) {
        if self.screen.is_live() || self.plan.plain_progress.is_some() {
            self.draw();
        }
        self.screen.finish();
    }
}
