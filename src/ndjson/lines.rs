//! Lines that are written whole or not at all, as far as the operating system allows.
//!
//! **A write that fails half way** leaves a part of a line. It is taken back, so that nothing is glued to it. Where that is impossible, as in a pipe or where
//! somebody else has appended since, the next write begins with a newline: the part becomes a line of its own, which is no JSON unless only
//! its newline was missing, and no event's line has any of it.

use std::io;

use serde::Serialize;

/// More than this of a buffer is given back once it is empty.
const KEPT: usize = 256 << 10;

/// What lines are written to.
pub(super) trait Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes the last `bytes` that were written back, and says whether it could.
    fn take_back(&mut self, bytes: usize) -> bool;
}

/// Lines that are to be written, and whether the target ends within one.
pub(super) struct Lines {
    /// A newline, and then the lines: so a target that ends within a line costs no second write.
    text: Vec<u8>,
    /// Where in `text` each line ends.
    ends: Vec<usize>,
    torn: bool,
}

impl Lines {
    pub(super) fn new(torn: bool) -> Self {
        Self { text: vec![b'\n'], ends: Vec::new(), torn }
    }

    /// Whether the target that is written to from now on ends within a line.
    pub(super) fn set_torn(&mut self, torn: bool) {
        self.torn = torn;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many lines wait to be written.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes wait to be written.
    pub(super) fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(1) as u64 - 1
    }

    /// Adds an event's line.
    pub(super) fn add<E: Serialize + ?Sized>(&mut self, event: &E) -> serde_json::Result<()> {
        // What an event's `Serialize` left that has panicked goes.
        let begin = self.ends.last().copied().unwrap_or(1);
        self.text.truncate(begin);
        if let Err(error) = serde_json::to_writer(&mut self.text, event) {
            self.text.truncate(begin);
            return Err(error);
        }
        // JSON has line breaks only where any space will do: strings have them escaped. They come from an event that is JSON text already.
        for byte in &mut self.text[begin..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.text.push(b'\n');
        self.ends.push(self.text.len());
        Ok(())
    }

    /// Writes what is there, and answers how many lines the target has whole. What it has not stays.
    pub(super) fn write_to(&mut self, target: &mut impl Target) -> (usize, io::Result<()>) {
        let begin = usize::from(!self.torn);
        let mut at = begin;
        let answer = loop {
            let Some(end) = self.ends.last().copied().filter(|end| at < *end) else { break Ok(()) };
            match target.write(&self.text[at..end]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => at += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = self.ends.partition_point(|end| *end <= at);
        let end = if whole == 0 { 1 } else { self.ends[whole - 1] };
        if at > begin {
            self.torn = at > end && !target.take_back(at - end);
        }
        self.forget(whole);
        (whole, answer)
    }

    /// Lets go of the first `lines`.
    fn forget(&mut self, lines: usize) {
        if lines == 0 {
            return;
        }
        if lines == self.ends.len() {
            self.clear();
            return;
        }
        let gone = self.ends[lines - 1] - 1;
        self.text.drain(1..=gone);
        self.ends.drain(..lines);
        self.ends.iter_mut().for_each(|end| *end -= gone);
    }

    /// Lets go of all lines.
    pub(super) fn clear(&mut self) {
        self.text.truncate(1);
        self.text.shrink_to(KEPT);
        self.ends.clear();
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    /// Takes so many bytes with each write, and then fails.
    struct Short {
        text: Vec<u8>,
        takes: Vec<usize>,
        gives_back: bool,
    }

    impl Target for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.takes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let takes = self.takes.remove(0).min(bytes.len());
            self.text.extend(&bytes[..takes]);
            Ok(takes)
        }

        fn take_back(&mut self, bytes: usize) -> bool {
            if self.gives_back {
                self.text.truncate(self.text.len() - bytes);
            }
            self.gives_back
        }
    }

    /// Writes the numbers 10 to 19 until all are written, to a target that takes `bytes` before each failure.
    fn written(bytes: usize, gives_back: bool, torn: bool) -> String {
        let mut lines = Lines::new(torn);
        (10..20).for_each(|event| lines.add(&event).unwrap());
        let mut target = Short { text: Vec::new(), takes: Vec::new(), gives_back };
        let mut whole = 0;
        for _ in 0..100 {
            target.takes = vec![1; bytes];
            let (more, answer) = lines.write_to(&mut target);
            whole += more;
            assert_eq!(lines.len(), 10 - whole);
            if answer.is_ok() {
                assert!(lines.is_empty() && lines.bytes() == 0);
                return String::from_utf8(target.text).unwrap();
            }
        }
        panic!("never done: {lines:?}", lines = lines.ends);
    }

    #[test]
    fn what_can_be_taken_back_leaves_no_trace() {
        let all = "10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n";
        for bytes in 3..=31 {
            assert_eq!(written(bytes, true, false), all, "{bytes} at a time");
            let torn = written(bytes + 1, true, true);
            assert_eq!(torn, format!("\n{all}"), "{bytes} at a time");
        }
    }

    #[test]
    fn a_part_that_cannot_be_taken_back_is_a_line_of_its_own() {
        for bytes in 4..=31 {
            let text = written(bytes, false, false);
            let mut numbers: Vec<u32> =
                text.lines().filter(|line| line.len() == 2).map(|line| line.parse().unwrap()).collect();
            // A part that lacks only its newline is that line once more.
            numbers.dedup();
            assert_eq!(numbers, (10..20).collect::<Vec<_>>(), "{bytes} at a time: {text:?}");
        }
    }

    #[test]
    fn a_line_has_no_line_break_in_it() {
        let mut lines = Lines::new(false);
        let raw = serde_json::value::to_raw_value("a\nb").unwrap();
        lines.add(&raw).unwrap();
        let pretty: Box<serde_json::value::RawValue> = serde_json::from_str("{\n  \"a\":\r\n  1\n}").unwrap();
        lines.add(&pretty).unwrap();
        let mut target = Short { text: Vec::new(), takes: vec![100], gives_back: true };
        assert_eq!(lines.write_to(&mut target).0, 2);
        let text = String::from_utf8(target.text).unwrap();
        let values: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values, [serde_json::json!("a\nb"), serde_json::json!({"a": 1})]);
    }

    #[test]
    fn an_event_that_cannot_be_encoded_leaves_nothing() {
        let mut lines = Lines::new(false);
        lines.add(&1).unwrap();
        let not_json = std::collections::BTreeMap::from([(vec![1], 2)]);
        assert!(lines.add(&not_json).is_err());
        assert_eq!((lines.len(), lines.bytes()), (1, 2));
    }
}
