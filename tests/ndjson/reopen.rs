//! What logrotate does.

use std::fs;
use std::io::ErrorKind;

use sinkworks::Sink;
use sinkworks::ndjson::{Flush, NdjsonFile};

use crate::{Directory, assert_io, failed, numbers};

#[test]
fn lines_go_to_the_renamed_file_until_it_is_reopened() {
    let directory = Directory::new();
    let file = NdjsonFile::append(directory.file()).unwrap();
    file.write(&1u64).unwrap();
    fs::rename(directory.file(), directory.rotated(1)).unwrap();
    file.write(&2u64).unwrap();
    file.clone().reopen();
    file.write(&3u64).unwrap();
    file.write(&4u64).unwrap();
    assert_eq!((numbers(directory.rotated(1)), numbers(directory.file())), (vec![1, 2], vec![3, 4]));
}

#[test]
fn what_is_in_the_buffer_goes_to_the_old_file() {
    let directory = Directory::new();
    let file = NdjsonFile::builder(directory.file()).flush(Flush::Bytes(1000)).open().unwrap();
    file.write(&1u64).unwrap();
    fs::rename(directory.file(), directory.rotated(1)).unwrap();
    file.reopen();
    file.write(&2u64).unwrap();
    file.flush().unwrap();
    assert_eq!((numbers(directory.rotated(1)), numbers(directory.file())), (vec![1], vec![2]));
}

#[test]
fn while_it_cannot_be_opened_writes_fail_in_a_way_that_may_pass() {
    let directory = Directory::new();
    let below = directory.0.join("below");
    fs::create_dir(&below).unwrap();
    let path = below.join("events.ndjson");
    let file = NdjsonFile::append(&path).unwrap();
    file.write(&1u64).unwrap();
    fs::rename(&below, directory.0.join("elsewhere")).unwrap();
    file.reopen();
    for _ in 0..2 {
        assert_io(&failed(file.write(&2u64)), "open", ErrorKind::NotFound);
    }
    fs::create_dir(&below).unwrap();
    file.write(&3u64).unwrap();
    assert_eq!(numbers(&path), [3]);
}

#[test]
fn a_file_that_ends_within_a_line_gets_a_newline_first() {
    let directory = Directory::new();
    let file = NdjsonFile::append(directory.file()).unwrap();
    file.write(&1u64).unwrap();
    fs::remove_file(directory.file()).unwrap();
    fs::write(directory.file(), "{").unwrap();
    file.reopen();
    file.write(&2u64).unwrap();
    assert_eq!(crate::text(directory.file()), "{\n2\n");
}
