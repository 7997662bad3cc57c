//! An NDJSON file, written, reopened, flushed and closed by two threads at the same moment: each line is whole, and there once.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use fastrand::Rng;
use sinkworks::ndjson::{Flush, NdjsonFile};
use sinkworks::{Delivery, Shutdown, Sink, WriteError};

use crate::accounts::{Accounts, assert_proper};
use crate::queue::NAME;
use crate::scene::{Actor, Operation, Scene};

pub(crate) struct NdjsonScene {
    file: NdjsonFile,
    path: PathBuf,
    accounts: Accounts,
    closed: AtomicBool,
    /// A close that does not wait may leave lines in the buffer.
    aborted: AtomicBool,
}

impl NdjsonScene {
    fn close(&self, actor: &mut Actor, how: Shutdown) {
        self.closed.store(true, Ordering::Release);
        if how != Shutdown::Drain {
            self.aborted.store(true, Ordering::Release);
        }
        Sink::<u64>::close(&self.file, how).unwrap();
        let answer = self.file.write(&actor.event());
        assert!(matches!(answer, Err(WriteError::Closed)), "after the close: {answer:?}");
    }
}

/// A folder of this process, and a number for each file.
fn path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = std::env::temp_dir().join(format!("sinkworks-stress-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}.ndjson", NEXT.fetch_add(1, Ordering::Relaxed)))
}

impl Scene for NdjsonScene {
    const NAME: &'static str = "ndjson file";
    const SOURCES: &'static [&'static str] = &["src/ndjson/file.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("write", |scene, actor| {
            let event = actor.event();
            scene.accounts.note(event, &scene.file.write(&event));
        }),
        Operation::new("write(batch)", |scene, actor| {
            let events = [actor.event(), actor.event()];
            let answer = scene.file.write(&events[..]);
            for event in events {
                scene.accounts.note(event, &answer);
            }
        }),
        Operation::new("try_write", |scene, actor| {
            let event = actor.event();
            scene.accounts.note(event, &scene.file.try_write(&event, &mut Delivery::from_thread()));
        }),
        Operation::new("close(drain)", |scene, actor| scene.close(actor, Shutdown::Drain)),
        Operation::new("close(until)", |scene, actor| {
            let how = actor.until();
            scene.close(actor, how);
        }),
        Operation::new("close(abort)", |scene, actor| scene.close(actor, Shutdown::Abort)),
        Operation::new("poll_close", |scene, _| {
            scene.closed.store(true, Ordering::Release);
            if let Poll::Ready(answer) = Sink::<u64>::poll_close(&scene.file, Shutdown::Drain, Waker::noop()) {
                answer.unwrap();
            }
        }),
        Operation::new("reopen", |scene, _| scene.file.reopen()),
        Operation::new("flush", |scene, _| scene.file.flush().unwrap()),
        Operation::new("sync", |scene, _| scene.file.sync().unwrap()),
        Operation::new("stats", |scene, _| assert!(scene.file.stats().written < 100)),
        Operation::new("path", |scene, _| assert_eq!(scene.file.path(), scene.path)),
        Operation::new("id", |scene, _| assert!(Sink::<u64>::id(&scene.file).is_some())),
        Operation::new("debug", |scene, _| assert!(!format!("{:?}", scene.file).is_empty())),
        Operation::new("clone", |scene, _| drop(scene.file.clone())),
    ];

    fn set(rng: &mut Rng) -> Self {
        let path = path();
        let flush = if rng.bool() { Flush::EachWrite } else { Flush::Bytes(rng.u64(1..64)) };
        let file = NdjsonFile::builder(&path).name(NAME).flush(flush).open().unwrap();
        let (closed, aborted) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { file, path, accounts: Accounts::default(), closed, aborted }
    }

    fn leave() {
        // All files are gone by now.
        let _ = fs::remove_dir(path().parent().unwrap());
    }

    fn settle(self, _: &mut Rng) {
        let answers = self.accounts.read();
        let report = Sink::<u64>::close(&self.file, Shutdown::Drain).unwrap();
        drop(self.file);
        let text = fs::read_to_string(&self.path).unwrap();
        fs::remove_file(&self.path).unwrap();
        let lines: Vec<u64> = text.lines().map(|line| line.parse().expect("a whole line")).collect();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        assert_proper(&lines, &answers.ok, &answers);
        let aborted = self.aborted.into_inner();
        assert!(aborted || lines.len() == answers.ok.len(), "{lines:x?} {answers:x?} {report:?}");
        assert!(answers.failed.is_empty() && answers.full.is_empty() && answers.left.is_empty(), "{answers:x?}");
        assert!(self.closed.into_inner() || answers.closed.is_empty(), "{answers:x?}");
    }
}
