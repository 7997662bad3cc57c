//! Lines in the buffer.

use std::fs;

use sinkworks::ndjson::{FileStats, Flush, NdjsonFile};
use sinkworks::{DropReason, Shutdown, Sink};

use crate::common::assert_books;
use crate::{Directory, numbers, text};

fn buffered(directory: &Directory, bytes: u64) -> NdjsonFile {
    NdjsonFile::builder(directory.file()).flush(Flush::Bytes(bytes)).open().unwrap()
}

fn buffered_lines(file: &NdjsonFile) -> (u64, u64) {
    let FileStats { written, buffered, .. } = file.stats();
    (written, buffered)
}

#[test]
fn lines_are_written_when_enough_have_gathered_or_when_asked() {
    let directory = Directory::new();
    let file = buffered(&directory, 6);
    file.write(&10u64).unwrap();
    assert_eq!((text(directory.file()).as_str(), buffered_lines(&file)), ("", (0, 1)));
    file.write(&11u64).unwrap();
    assert_eq!((numbers(directory.file()), buffered_lines(&file)), (vec![10, 11], (2, 0)));
    file.write(&[12u64, 13, 14][..]).unwrap();
    assert_eq!((numbers(directory.file()), buffered_lines(&file)), (vec![10, 11, 12, 13], (4, 1)));
    file.flush().unwrap();
    assert_eq!((numbers(directory.file()), buffered_lines(&file)), (vec![10, 11, 12, 13, 14], (5, 0)));
    file.write(&15u64).unwrap();
    file.sync().unwrap();
    assert_eq!(numbers(directory.file()).len(), 6);
}

#[test]
fn a_close_writes_the_rest() {
    let directory = Directory::new();
    let file = buffered(&directory, 1000);
    file.write(&1u64).unwrap();
    let report = Sink::<u64>::close(&file, Shutdown::Drain).unwrap();
    assert_eq!((numbers(directory.file()), report.dropped()), (vec![1], 0));
}

#[test]
fn an_abort_gives_the_rest_up_and_says_so() {
    let directory = Directory::new();
    let file = buffered(&directory, 6);
    (0..5u64).for_each(|event| file.write(&event).unwrap());
    let report = Sink::<u64>::close(&file, Shutdown::Abort).unwrap();
    assert_eq!(numbers(directory.file()), [0, 1, 2]);
    let id = Sink::<u64>::id(&file).unwrap();
    assert_books(&report.component(id).unwrap().ledger, 5, 3, &[(DropReason::Abandoned, 2)]);
    let again = Sink::<u64>::close(&file, Shutdown::Drain).unwrap();
    assert_eq!((again.abandoned(), numbers(directory.file()).len()), (2, 3));
}

#[test]
fn who_drops_it_without_a_close_finds_the_rest_written() {
    let directory = Directory::new();
    let file = buffered(&directory, 1000);
    file.clone().write(&1u64).unwrap();
    assert_eq!(text(directory.file()), "");
    drop(file);
    assert_eq!(numbers(directory.file()), [1]);
}

/// The disk is full, and then it is not: the path leads to a device that is always full, and then to a file.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_no_line_that_was_taken() {
    use std::io::ErrorKind;

    use crate::{assert_io, failed};

    let directory = Directory::new();
    std::os::unix::fs::symlink("/dev/full", directory.file()).unwrap();
    let file = buffered(&directory, 6);
    file.write(&0u64).unwrap();
    file.write(&1u64).unwrap();
    file.write(&2u64).unwrap();
    assert_eq!(buffered_lines(&file), (0, 3), "the buffer has room for the third, which cannot be written");
    assert_io(&failed(file.write(&3u64)), "write", ErrorKind::StorageFull);
    assert_io(&file.flush().unwrap_err(), "write", ErrorKind::StorageFull);
    assert_eq!(buffered_lines(&file), (0, 3), "and no fourth");
    let report = Sink::<u64>::close(&file, Shutdown::Drain).unwrap();
    assert_eq!((report.abandoned(), report.errors().len()), (3, 1));

    fs::remove_file(directory.file()).unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.file()).unwrap();
    let file = buffered(&directory, 6);
    (0..3u64).for_each(|event| file.write(&event).unwrap());
    // What is in the buffer belongs to the file that it was taken for, so it cannot be reopened.
    file.reopen();
    assert_io(&failed(file.write(&3u64)), "write", ErrorKind::StorageFull);
    assert_eq!(buffered_lines(&file), (0, 3));
}
