//! The standard output, of a process that this one starts: this very program, with one test.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sinkworks::ndjson::NdjsonStdout;
use sinkworks::test_util::check_contract;
use sinkworks::{Sink, WriteError};

const ASKED: &str = "SINKWORKS_TEST_NDJSON_STDOUT";

fn child(what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "stdout::the_child"]).env(ASKED, what).stderr(Stdio::null());
    command
}

/// Does nothing unless asked.
#[test]
fn the_child() {
    match std::env::var(ASKED).as_deref() {
        Ok("write") => {
            let sink = NdjsonStdout::new().unwrap();
            println!(); // after what the test runner has begun to print
            sink.write(&(1, "event")).unwrap();
            println!("printed by somebody else");
            sink.write(&[(2, "batch"), (3, "batch")][..]).unwrap();
        }
        Ok("broken") => {
            let sink = NdjsonStdout::new().unwrap();
            let answer = loop {
                if let Err(error) = sink.write(&"x".repeat(1000)) {
                    break error;
                }
            };
            assert!(matches!(answer, WriteError::Closed), "{answer:?}");
            assert!(matches!(sink.write(&1), Err(WriteError::Closed)));
            assert!(matches!(sink.write(&[1, 2][..]), Err(WriteError::Closed)));
            std::process::exit(7);
        }
        Ok("contract") => {
            check_contract(|| NdjsonStdout::new().unwrap(), &1);
            check_contract(|| NdjsonStdout::new().unwrap(), &[1, 2][..]);
            std::process::exit(7);
        }
        _ => {}
    }
}

#[test]
fn lines_come_out_in_the_order_of_the_program() {
    let output = child("write").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('[') || line.starts_with("printed")).collect();
    assert_eq!(lines, ["[1,\"event\"]", "printed by somebody else", "[2,\"batch\"]", "[3,\"batch\"]"], "{text}");
}

#[test]
fn a_reader_that_is_gone_closes_it() {
    let mut child = child("broken").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    while !line.contains("xxx") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn it_keeps_the_contract() {
    assert_eq!(child("contract").stdout(Stdio::null()).status().unwrap().code(), Some(7));
}
