//! Random inputs for what reads text: the relay's input and its arguments, the names of components, and what comes to a webhook's module from outside.

#[path = "../../examples/relay/cli.rs"]
mod cli;
#[path = "../common/fuzz.rs"]
mod fuzz;
#[path = "../../examples/relay/input.rs"]
mod input;
mod webhook;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use sinkworks::{Breaker, Broadcaster, BuildError, Channel, Filter, Pool, Queue, RetryingSink, sink_fn};

use cli::Args;
use fuzz::explore;
use input::{Bad, Lines};

/// A line that is JSON, nearly JSON, blank, or anything.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just("{\"a\":[1,2.5e3,null,true],\"b\":\"x\\n\\u00e9\"}".to_owned()),
        "\"[a-z\\\\\"é]{0,6}\"",
        "-?[0-9]{1,20}(\\.[0-9]{1,3})?(e[+-]?[0-9]{1,3})?",
        "[\\[\\]{},:\"0-9a-z ]{0,12}",
        (0..200_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
    ];
    let json = ("[ \t]{0,2}", json, "[ \t\r]{0,2}").prop_map(|(a, json, b)| (a + &json + &b).into_bytes());
    let anything = vec(any::<u8>().prop_filter("no newline", |byte| *byte != b'\n'), 0..16);
    // Text that is no UTF-8, and white space that is none in JSON.
    let odd = vec(proptest::sample::select(&b"\"\"\\u01 \x0c\x0b[]\x80\xc3\xa9"[..]), 0..8);
    prop_oneof![4 => json, 1 => anything, 2 => odd, 1 => Just(Vec::new())]
}

#[test]
fn every_line_is_an_event_or_reported() {
    let path = std::env::temp_dir().join(format!("sinkworks-fuzz-{}.ndjson", std::process::id()));
    explore("relay input", &(vec(lines(), 0..8), any::<bool>()), |(lines, ended)| {
        let mut text = lines.join(&b'\n');
        if ended {
            text.push(b'\n');
        }
        fs::write(&path, &text).unwrap();
        let mut reader = Lines::open(&path).unwrap();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            // From text: from bytes, what is ignored is not looked at for being UTF-8.
            let is_json = std::str::from_utf8(line).is_ok_and(|line| serde_json::from_str::<IgnoredAny>(line).is_ok());
            match reader.next_event() {
                Some(Ok(event)) => assert!(is_json && event.get().as_bytes() == line.trim_ascii(), "{event:?}"),
                Some(Err(Bad::Malformed(why))) => assert!(!is_json && why.contains("at column"), "{why}"),
                Some(Err(Bad::Unreadable(error))) => panic!("{error}"),
                None => panic!("not reported: {line:?}"),
            }
        }
        assert!(reader.next_event().is_none());
        assert_eq!(reader.number(), text.split_inclusive(|byte| *byte == b'\n').count() as u64);
    });
    fs::remove_file(&path).unwrap();
}

#[test]
fn arguments_are_taken_or_refused() {
    const FLAGS: &[&str] =
        &["--input", "--to", "--out", "--metrics", "--rate", "--strict", "--grace", "--threshold", "--backoff-ms"];
    let word = prop_oneof![
        4 => proptest::sample::select(FLAGS).prop_map(str::to_owned),
        3 => "-?[0-9]{1,12}(\\.[0-9]{0,3})?(e[0-9]{1,3})?",
        1 => "\\PC{0,8}",
        1 => (proptest::sample::select(FLAGS), "[-0-9a-z.]{0,8}").prop_map(|(flag, value)| format!("{flag}={value}")),
        1 => proptest::sample::select(&["inf", "nan", "-", "--", "-0"][..]).prop_map(str::to_owned),
    ];
    explore("relay arguments", &vec(word, 0..7), |words| {
        let Ok(args) = Args::try_parse_from(std::iter::once("relay".to_owned()).chain(words)) else { return };
        assert!(args.rate != Some(0) && args.threshold > 0 && (1..=86_400_000).contains(&args.backoff_ms), "{args:?}");
    });
    let args = Args::try_parse_from(["relay", "--grace", "2.5"]).unwrap();
    assert_eq!((args.input, args.grace), (PathBuf::from("-"), Duration::from_millis(2_500)));
}

#[test]
fn a_grace_is_a_time_or_refused() {
    let text = prop_oneof!["[0-9]{0,25}(\\.[0-9]{0,9})?(e-?[0-9]{1,4})?", "-[0-9.]{0,4}", "\\PC{0,6}"];
    explore("relay grace", &text, |text| {
        let parsed = Args::try_parse_from(["relay".to_owned(), format!("--grace={text}")]);
        let expected = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        assert_eq!(parsed.ok().map(|args| args.grace), expected, "{text:?}");
    });
}

#[test]
fn all_components_agree_on_what_a_name_is() {
    let name = prop_oneof!["\\PC{0,140}", "[ -~]{120,136}", vec(any::<char>(), 0..6).prop_map(String::from_iter)];
    let sink = || sink_fn(|_: &u8| Ok(()));
    let pool = Pool::builder().threads(1).build().unwrap();
    explore("names", &name, |name| {
        let valid = (1..=128).contains(&name.len()) && !name.chars().any(char::is_control);
        let answers = [
            Queue::builder(sink()).pool(&pool).name(name.clone()).build().map(drop),
            Channel::<u8>::builder().name(name.clone()).build().map(drop),
            Broadcaster::<u8>::named(&name).map(drop),
            Breaker::builder().name(name.clone()).build().map(drop),
            Filter::named(&name, sink(), |_: &u8| true).map(drop),
            RetryingSink::named(&name, sink(), Breaker::new(1, Duration::ZERO)).map(drop),
        ];
        let expected = if valid { Ok(()) } else { Err(BuildError::Name) };
        assert!(answers.iter().all(|answer| *answer == expected), "{name:?}: {answers:?}");
    });
}
