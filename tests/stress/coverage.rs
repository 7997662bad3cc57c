//! That no public method is missing from the tables: the names of the methods are read from the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::scene::Scene;

/// What every sink has.
pub(crate) const SINK: &[&str] = &["try_write", "write", "poll_close", "close", "id"];

/// Of an `Outcome`: a value, which nothing changes any more. Its own scene asks them of every one.
const OF_A_VALUE: &[&str] = &["acknowledgements", "has", "has_all"];

/// The method that an operation is called after.
fn method(operation: &str) -> &str {
    let method = operation.split('(').next().unwrap_or_default();
    method.rsplit(['.', ':']).next().unwrap_or_default()
}

/// The public methods on `&self` in a file, in the lines before its unit tests. A method's head may go over several lines.
fn public_methods(source: &str) -> BTreeSet<String> {
    let code = source.split("\n#[cfg(all(test").next().unwrap_or_default();
    let heads = code.split("    pub fn ").skip(1);
    let methods = heads.filter_map(|head| {
        let head = head.split('{').next()?;
        let name = head.split(['(', '<']).next()?;
        head.contains("&self").then(|| name.to_owned())
    });
    methods.collect()
}

fn missing<S: Scene>() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table: BTreeSet<&str> = S::OPERATIONS.iter().map(|operation| method(operation.name)).collect();
    let mut expected = BTreeSet::new();
    for file in S::SOURCES {
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        expected.extend(public_methods(&source));
        if source.contains(" Sink<") {
            expected.extend(SINK.iter().map(|&name| name.to_owned()));
        }
        assert!(!expected.is_empty(), "{file} has no public method: has the code moved?");
    }
    expected.into_iter().filter(|name| !OF_A_VALUE.contains(&name.as_str()) && !table.contains(name.as_str())).collect()
}

#[test]
fn every_public_method_is_in_a_table() {
    let none = BTreeSet::new();
    assert_eq!(missing::<crate::queue::QueueScene>(), none);
    assert_eq!(missing::<crate::broadcaster::BroadcasterScene>(), none);
    assert_eq!(missing::<crate::channel::ChannelScene>(), none);
    assert_eq!(missing::<crate::breaker::BreakerScene>(), none);
    assert_eq!(missing::<crate::stages::StagesScene>(), none);
    assert_eq!(missing::<crate::alternatives::AlternativesScene>(), none);
    assert_eq!(missing::<crate::ndjson::NdjsonScene>(), none);
    assert_eq!(missing::<crate::pool::PoolScene>(), none);
    assert_eq!(missing::<crate::receipt::ReceiptScene>(), none);
}

#[test]
fn methods_are_read_from_source() {
    let source = "impl A {\n    pub fn one(&self) {}\n    pub fn two<T>(\n        &self,\n    ) {}\n    pub fn new() {}\n    fn own(&self) {}\n}";
    assert_eq!(public_methods(source), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    assert_eq!(method("retry.close(abort)"), "close");
}
