use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sinkworks::ndjson::{Flush, NdjsonError, NdjsonFile};
use sinkworks::test_util::check_contract;
use sinkworks::{
    BatchError, Batching, BuildError, Class, DropReason, ExponentialBackoff, Queue, Shutdown, Sink, SinkExt, WriteError,
};

use crate::common::{assert_closes, assert_ledger, concurrently, still_pool};
use crate::{Directory, Event, assert_io, failed, numbers, text};

#[test]
fn a_line_for_each_event_after_what_was_there() {
    let directory = Directory::new();
    fs::write(directory.file(), "0\n").unwrap();
    let file = NdjsonFile::append(directory.file()).unwrap();
    file.write(&1u64).unwrap();
    file.write(&[2u64, 3][..]).unwrap();
    file.write(&"a\nb").unwrap();
    assert_eq!(text(directory.file()), "0\n1\n2\n3\n\"a\\nb\"\n");
    assert_eq!(file.stats().written, 4);
    assert_eq!(file.path(), directory.file());
}

#[test]
fn it_keeps_the_contract() {
    let directory = Directory::new();
    check_contract(|| NdjsonFile::append(directory.file()).unwrap(), &1);
    check_contract(|| NdjsonFile::append(directory.file()).unwrap(), &[1, 2, 3][..]);
    let buffered = || NdjsonFile::builder(directory.file()).flush(Flush::Bytes(100)).open().unwrap();
    check_contract(buffered, &1);
    check_contract(buffered, &[1, 2, 3][..]);
    let rotating = || NdjsonFile::builder(directory.file()).rotate(4, 2).open().unwrap();
    check_contract(rotating, &1);
    check_contract(move || rotating().retrying(ExponentialBackoff::default()).batched(2, Duration::ZERO), &1);
}

#[test]
fn a_file_that_ends_within_a_line_gets_a_newline_first() {
    let directory = Directory::new();
    fs::write(directory.file(), "0\n{\"half").unwrap();
    let file = NdjsonFile::append(directory.file()).unwrap();
    file.write(&1).unwrap();
    file.write(&2).unwrap();
    assert_eq!(text(directory.file()), "0\n{\"half\n1\n2\n");
}

#[test]
fn a_new_file_must_be_new() {
    let directory = Directory::new();
    let open = || NdjsonFile::builder(directory.file()).create_new().open();
    assert!(open().is_ok());
    let error = open().err();
    assert!(
        matches!(error, Some(NdjsonError::Io { doing: "open", ref source }) if source.kind() == ErrorKind::AlreadyExists),
        "{error:?}"
    );
    assert!(matches!(NdjsonFile::append(directory.0.join("no/where")), Err(NdjsonError::Io { doing: "open", .. })));
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let directory = Directory::new();
    let builder = || NdjsonFile::builder(directory.file());
    let zero = |builder: sinkworks::ndjson::NdjsonFileBuilder, name| {
        let error = builder.open().err();
        assert!(matches!(error, Some(NdjsonError::Build(BuildError::Zero { option })) if option == name), "{error:?}");
    };
    zero(builder().flush(Flush::Bytes(0)), "flush");
    zero(builder().rotate(0, 1), "max_bytes");
    zero(builder().rotate(1, 0), "keep");
    assert!(matches!(builder().name("\n").open(), Err(NdjsonError::Build(BuildError::Name))));
    assert!(!directory.file().exists());
}

#[test]
fn an_event_that_cannot_be_written_fails_for_good_and_leaves_nothing() {
    let directory = Directory::new();
    let file = NdjsonFile::append(directory.file()).unwrap();
    let failure = failed(file.write(&Event::Unwritable));
    assert_eq!(failure.class(), Class::Permanent);
    assert!(matches!(failure.cause().downcast_ref(), Some(NdjsonError::Encode(_))));
    let batch = [Event::Number(1), Event::Unwritable, Event::Number(2)];
    let failure = failed(file.write(&batch[..]));
    assert_eq!(failure.class(), Class::Permanent);
    let outcomes = &failure.cause().downcast_ref::<BatchError>().unwrap().outcomes;
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(numbers(directory.file()), [1, 2]);
}

#[test]
fn an_event_that_panics_leaves_nothing() {
    let directory = Directory::new();
    for flush in [Flush::EachWrite, Flush::Bytes(1000)] {
        let file = NdjsonFile::builder(directory.file()).flush(flush).open().unwrap();
        file.write(&Event::Number(1)).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| file.write(&Event::Panicking))).is_err());
        let batch = [Event::Number(8), Event::Panicking];
        assert!(catch_unwind(AssertUnwindSafe(|| file.write(&batch[..]))).is_err());
        file.write(&Event::Number(2)).unwrap();
        Sink::<Event>::close(&file, Shutdown::Drain).unwrap();
        let seen = numbers(directory.file());
        // A batch that panics may be in the buffer in part, as far as it had come; each line is whole.
        assert!(seen == [1, 2] || (flush != Flush::EachWrite && seen == [1, 8, 2]), "{flush:?}: {seen:?}");
        fs::remove_file(directory.file()).unwrap();
    }
}

#[test]
fn after_a_close_nothing_is_written() {
    let directory = Directory::new();
    let file = NdjsonFile::append(directory.file()).unwrap();
    file.write(&1).unwrap();
    assert_closes(&file, &2);
    assert!(matches!(file.write(&[3][..]), Err(WriteError::Closed)));
    assert_eq!(numbers(directory.file()), [1]);
}

#[test]
fn lines_of_concurrent_writers_are_whole() {
    let directory = Directory::new();
    let file = NdjsonFile::builder(directory.file()).flush(Flush::EachWriteToDisk).open().unwrap();
    concurrently(4, |writer| {
        for number in 0..20 {
            let event = 1000 * writer + number;
            if number % 5 == 0 {
                file.write(&[event, event + 100][..]).unwrap();
            } else {
                file.write(&event).unwrap();
            }
        }
    });
    let mut seen = numbers(directory.file());
    assert_eq!(seen.len(), 4 * 24);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4 * 24);
}

/// A device that is always full: Linux has one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure_that_may_pass() {
    let file = NdjsonFile::append("/dev/full").unwrap();
    assert_io(&failed(file.write(&1)), "write", ErrorKind::StorageFull);
    let failure = failed(file.write(&[1, 2][..]));
    assert_eq!(failure.class(), Class::Transient);
    for outcome in &failure.cause().downcast_ref::<BatchError>().unwrap().outcomes {
        assert_io(outcome.as_ref().unwrap_err(), "write", ErrorKind::StorageFull);
    }
    assert_eq!(file.stats().written, 0);
    // Nothing that was tried is written later.
    Sink::<u32>::close(&file, Shutdown::Drain).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_queue_of_batches_before_a_full_disk_holds_its_events_and_loses_none_of_them_silently() {
    let (pool, clock) = still_pool();
    let file = NdjsonFile::append("/dev/full").unwrap();
    let retrying = file.retrying(ExponentialBackoff::default());
    let queue = Queue::batching(retrying, Batching::new(10, Duration::ZERO)).pool(&pool).build().unwrap();
    (0..25).for_each(|event| queue.send(event).unwrap());
    for _ in 0..5 {
        pool.wait_idle();
        clock.advance(Duration::from_secs(60));
    }
    assert_ledger(&queue, 25, 0, &[]);
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!(report.abandoned(), 25);
    assert_ledger(&queue, 25, 0, &[(DropReason::Abandoned, 25)]);
}

#[test]
fn what_is_told_of_it_has_nothing_of_an_event() {
    let directory = Directory::new();
    let file = NdjsonFile::builder(directory.file()).name("audit").open().unwrap();
    file.write(&"a secret").unwrap();
    let told = format!("{file:?}");
    assert!(told.contains("audit") && !told.contains("secret"), "{told}");
    let _queue: Queue<String> = file.batched(10, Duration::ZERO);
    let diagram = sinkworks::telemetry::topology().to_mermaid();
    assert!(diagram.contains("ndjson file<br/>audit"), "{diagram}");
}
