//! Who does what, and what is said of a hang: for each of the suite's threads its operation, and for every thread of the process what Linux knows of it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(30);

/// The threads of all the suites, each with what it does.
static THREADS: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());

struct Entry {
    role: String,
    /// As Linux calls it.
    task: String,
    doing: Mutex<(&'static str, Instant)>,
}

thread_local! {
    static OWN: RefCell<Option<Arc<Entry>>> = const { RefCell::new(None) };
}

/// Enters this thread into the registry.
pub(crate) fn enrol(role: &str) {
    let task = fs::read_link("/proc/thread-self").unwrap_or_default();
    let task = task.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entry = Arc::new(Entry { role: role.to_owned(), task, doing: Mutex::new(("nothing yet", Instant::now())) });
    THREADS.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
    OWN.set(Some(entry));
}

/// Notes what this thread does from now on.
pub(crate) fn doing(what: &'static str) {
    OWN.with_borrow(|own| {
        if let Some(own) = own {
            *own.doing.lock().unwrap_or_else(PoisonError::into_inner) = (what, Instant::now());
        }
    });
}

/// Shows that something moves.
#[derive(Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `body` on a thread of its own and fails, with the states of all threads, when its pulse stands still. The threads are then left behind.
pub(crate) fn watch(title: &str, pulse: &Arc<Pulse>, body: impl FnOnce() + Send + 'static) {
    let (tell, ended) = mpsc::channel();
    let conductor = thread::Builder::new().name("conductor".to_owned()).spawn(move || {
        // Told by its drop too, so that a panic is not taken for a hang.
        let _tell: mpsc::Sender<()> = tell;
        body();
    });
    let (mut last, mut moved) = (0, Instant::now());
    while ended.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout) {
        let now = pulse.0.load(Ordering::Relaxed);
        if now != last {
            (last, moved) = (now, Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "{title}: nothing has moved for {PATIENCE:?}\n{}", states());
    }
    conductor.unwrap().join().unwrap_or_else(|panic| resume_unwind(panic));
}

/// What every thread of the suites does, then what Linux says of every thread of the process.
pub(crate) fn states() -> String {
    let mut text = String::from("the suite's threads:\n");
    for entry in &*THREADS.lock().unwrap_or_else(PoisonError::into_inner) {
        let (what, since) = *entry.doing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(text, "  {} (task {}): {what}, for {:?}", entry.role, entry.task, since.elapsed());
    }
    text.push_str("all threads of the process (state; where in the kernel; system call):\n");
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut tasks: Vec<PathBuf> = tasks.map(|task| task.path()).collect();
    tasks.sort();
    for task in tasks {
        let _ = writeln!(text, "  {}", state_of(&task));
    }
    text
}

/// How many threads of the process have a name that begins so, on Linux.
pub(crate) fn threads(prefix: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with(prefix)).count()
}

fn state_of(task: &Path) -> String {
    let read = |file: &str| {
        fs::read_to_string(task.join(file)).map_or_else(|error| error.kind().to_string(), |text| text.trim().to_owned())
    };
    // After the name, which is in parentheses and may have spaces.
    let stat = read("stat");
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?").to_owned();
    let number = task.file_name().unwrap_or_default().to_string_lossy();
    format!("{number} {:16} {state}; {}; {}", read("comm"), read("wchan"), read("syscall"))
}

#[test]
fn a_hang_is_reported_with_what_everybody_does() {
    let pulse = Arc::new(Pulse::default());
    let (free, freed) = mpsc::channel::<()>();
    let (hang, hangs) = mpsc::channel();
    let hanging = thread::Builder::new().name("hanging".to_owned()).spawn(move || {
        enrol("the one that hangs");
        doing("waiting for ever");
        hang.send(()).unwrap();
        freed.recv().unwrap_err();
    });
    hangs.recv().unwrap();
    let text = states();
    drop(free);
    hanging.unwrap().join().unwrap();
    assert!(text.contains("the one that hangs") && text.contains(": waiting for ever, for"), "{text}");
    assert!(!cfg!(target_os = "linux") || text.contains("hanging          "), "{text}");
    watch("one that ends", &pulse, || {});
}
