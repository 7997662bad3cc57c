//! Files that give way to new ones.

use std::fs;

use sinkworks::Sink;
use sinkworks::ndjson::{Flush, NdjsonFile};

use crate::{Directory, numbers};

/// A file of at most three lines of two digits.
fn rotating(directory: &Directory, keep: u32) -> NdjsonFile {
    NdjsonFile::builder(directory.file()).rotate(9, keep).open().unwrap()
}

#[test]
fn a_file_that_would_get_too_large_is_renamed_and_the_oldest_is_thrown_away() {
    let directory = Directory::new();
    let file = rotating(&directory, 2);
    for event in 10u64..20 {
        file.write(&event).unwrap();
    }
    assert_eq!(numbers(directory.file()), [19]);
    assert_eq!(numbers(directory.rotated(1)), [16, 17, 18]);
    assert_eq!(numbers(directory.rotated(2)), [13, 14, 15]);
    assert!(!directory.rotated(3).exists());
    assert_eq!((file.stats().rotations, file.stats().rotation_failures, file.stats().written), (3, 0, 10));
}

#[test]
fn with_one_kept_there_is_one() {
    let directory = Directory::new();
    let file = rotating(&directory, 1);
    (10u64..17).for_each(|event| file.write(&event).unwrap());
    assert_eq!((numbers(directory.file()), numbers(directory.rotated(1))), (vec![16], vec![13, 14, 15]));
    assert!(!directory.rotated(2).exists());
}

#[test]
fn what_was_there_before_counts() {
    let directory = Directory::new();
    fs::write(directory.file(), "10\n11\n").unwrap();
    let file = rotating(&directory, 5);
    file.write(&12u64).unwrap();
    file.write(&13u64).unwrap();
    assert_eq!((numbers(directory.file()), numbers(directory.rotated(1))), (vec![13], vec![10, 11, 12]));
}

#[test]
fn a_batch_is_not_divided_and_a_large_one_has_a_file_of_its_own() {
    let directory = Directory::new();
    let file = rotating(&directory, 5);
    file.write(&[10u64, 11][..]).unwrap();
    file.write(&[12u64, 13][..]).unwrap();
    file.write(&[20u64, 21, 22, 23, 24][..]).unwrap();
    file.write(&14u64).unwrap();
    assert_eq!(numbers(directory.file()), [14]);
    assert_eq!(numbers(directory.rotated(1)), [20, 21, 22, 23, 24]);
    assert_eq!(numbers(directory.rotated(2)), [12, 13]);
    assert_eq!(numbers(directory.rotated(3)), [10, 11]);
}

#[test]
fn a_buffer_is_not_divided() {
    let directory = Directory::new();
    let file = NdjsonFile::builder(directory.file()).rotate(9, 5).flush(Flush::Bytes(6)).open().unwrap();
    (10u64..14).for_each(|event| file.write(&event).unwrap());
    assert_eq!((numbers(directory.file()), numbers(directory.rotated(1))), (vec![12, 13], vec![10, 11]));
}

#[test]
fn a_file_that_cannot_be_renamed_is_written_on() {
    let directory = Directory::new();
    fs::create_dir(directory.rotated(1)).unwrap();
    fs::write(directory.rotated(1).join("full"), "").unwrap();
    let file = rotating(&directory, 1);
    (10u64..15).for_each(|event| file.write(&event).unwrap());
    assert_eq!(numbers(directory.file()), [10, 11, 12, 13, 14]);
    assert_eq!((file.stats().rotations, file.stats().rotation_failures), (0, 2));
    fs::remove_dir_all(directory.rotated(1)).unwrap();
    file.write(&15u64).unwrap();
    assert_eq!((numbers(directory.file()), file.stats().rotations), (vec![15], 1));
}

#[test]
fn a_file_that_somebody_else_has_taken_away_is_begun_anew() {
    let directory = Directory::new();
    let file = rotating(&directory, 2);
    (10u64..13).for_each(|event| file.write(&event).unwrap());
    fs::remove_file(directory.file()).unwrap();
    file.write(&13u64).unwrap();
    assert_eq!(numbers(directory.file()), [13]);
}

#[test]
fn a_device_is_not_rotated() {
    let file = NdjsonFile::builder("/dev/null").rotate(1, 1).open().unwrap();
    (10u64..15).for_each(|event| file.write(&event).unwrap());
    assert_eq!((file.stats().rotations, file.stats().written), (0, 5));
}
