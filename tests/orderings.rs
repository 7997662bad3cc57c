//! Every ordering that is not `Relaxed`, every fence and every step that can be left out has its reason in the source, or a model that fails without it.
//!
//! A plain look at the text of `src`. What it wants:
//!
//! - an ordering stands in `ordering!(…, "name")`, or a comment within four lines names it, or the head of the file has a paragraph `**Orderings.**`, or that of
//!   the directory's `mod.rs` has one that names the file;
//! - a fence is left out by a `mutation!`, or a comment says what it pairs with;
//! - every name of a `mutation!` or an `ordering!` is in a model's list or in that of `ci/mutations.sh`, and in the tables of `loom-tests/README.md`; and every name of
//!   those lists is in the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ORDERINGS: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];
const PARAGRAPH: &str = "**Orderings.**";
/// How far above its line a comment may be.
const NEAR: usize = 4;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root().join(directory), &mut found);
    found.sort();
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The code of a line and its comment.
fn split(line: &str) -> (&str, &str) {
    line.find("//").map_or((line, ""), |at| line.split_at(at))
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.match_indices(word).any(|(at, _)| {
        let bytes = text.as_bytes();
        (at == 0 || !is_part(bytes[at - 1])) && bytes.get(at + word.len()).is_none_or(|byte| !is_part(*byte))
    })
}

/// The lines of a source that a service runs: without the tests at its end.
fn without_tests(text: &str) -> Vec<&str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test,")).collect()
}

/// What is wrong with a source. `parent` is the text of its directory's `mod.rs`.
fn complaints(name: &str, text: &str, parent: &str) -> Vec<String> {
    let lines = without_tests(text);
    let head: String = lines.iter().take_while(|line| line.starts_with("//!") || line.is_empty()).copied().collect();
    let told_above = parent.lines().filter(|line| line.starts_with("//!")).any(|line| line.contains(PARAGRAPH))
        && parent.contains(&format!("`{}`", name.trim_end_matches(".rs")));
    let has_paragraph = head.contains(PARAGRAPH) || told_above;
    let mut complaints = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let (code, comment) = split(line);
        let near = &lines[index.saturating_sub(NEAR)..index];
        let comments: String = near.iter().map(|line| split(line).1).chain([comment]).collect();
        let mut complain = |what: &str| complaints.push(format!("{name}:{}: {what}: {}", index + 1, line.trim()));
        if code.contains("fence(") && !code.contains("fn ") {
            let is_named = near.iter().any(|line| line.contains("mutation!(")) || comments.contains("airs with");
            if !is_named {
                complain("a fence with neither a mutation nor a partner");
            }
            continue;
        }
        if code.trim_start().starts_with("use ") || code.contains("ordering!(") || has_paragraph {
            continue;
        }
        for ordering in ORDERINGS {
            if has_word(code, ordering) && !has_word(&comments, ordering) {
                complain("an ordering without a reason");
            }
        }
    }
    complaints
}

#[test]
fn every_ordering_and_every_fence_has_its_reason() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with("tests.rs") {
            continue;
        }
        let parent = fs::read_to_string(path.parent().unwrap().join("mod.rs")).unwrap_or_default();
        let shown = path.strip_prefix(root()).unwrap().display();
        wrong.extend(complaints(name, &text, &parent).into_iter().map(|complaint| format!("{shown}: {complaint}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What stands in quotation marks after `start`, and perhaps the name of an ordering.
fn names(text: &str, start: &str) -> BTreeSet<String> {
    let found = text.match_indices(start).filter_map(|(at, _)| {
        let mut parts = text[at + start.len()..].split('"');
        let between = parts.next()?.trim().trim_end_matches(',');
        (between.is_empty() || ORDERINGS.contains(&between)).then(|| parts.next()).flatten()
    });
    found.map(str::to_owned).collect()
}

#[test]
fn every_step_that_can_be_left_out_is_left_out_somewhere() {
    if !root().join("ci").is_dir() {
        // A published package has neither the scripts nor the models.
        return;
    }
    let mut marked = BTreeSet::new();
    for (_, text) in sources("src") {
        let code: String = text.lines().map(|line| split(line).0).collect();
        marked.extend(names(&code, "mutation!("));
        marked.extend(names(&code, "ordering!("));
    }
    let mut left_out = BTreeSet::new();
    for (_, text) in sources("loom-tests/models") {
        left_out.extend(names(&text, "mutation("));
        left_out.extend(names(&text, "Mutation { name:"));
    }
    let script = fs::read_to_string(root().join("ci/mutations.sh")).unwrap();
    let table = script
        .split("<<'STEPS' || true\n")
        .nth(1)
        .and_then(|rest| rest.split("\nSTEPS").next())
        .expect("the table of steps");
    left_out.extend(table.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned));
    let nowhere: Vec<_> = marked.difference(&left_out).collect();
    let unknown: Vec<_> = left_out.difference(&marked).collect();
    assert!(nowhere.is_empty(), "left out by no model and no test: {nowhere:?}");
    assert!(unknown.is_empty(), "in no source: {unknown:?}");
    assert!(marked.len() > 100, "{} steps", marked.len());
    let page = fs::read_to_string(root().join("loom-tests/README.md")).unwrap();
    let untold: Vec<_> = marked.iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(untold.is_empty(), "not in loom-tests/README.md: {untold:?}");
}

#[test]
fn what_is_wrong_is_found() {
    let wrong = |text: &str| complaints("x.rs", text, "//! Others.");
    assert_eq!(wrong("    word.load(Ordering::Acquire)").len(), 1);
    assert_eq!(wrong("    // Relaxed would not do.\n    word.store(1, Release)").len(), 1);
    assert_eq!(wrong("    word.cas(0, 1, Ordering::AcqRel, Ordering::Acquire); // AcqRel: for the turn").len(), 1);
    assert_eq!(wrong("    fence(Ordering::SeqCst); // SeqCst as fences are").len(), 1);
    assert_eq!(wrong("// Acquire, with the Release of the close.\n\n\n\n\nword.load(Acquire)").len(), 1, "too far");
    assert!(complaints("x.rs", "word.load(Acquire)", "//! **Orderings.** Those of `y`.").len() == 1);
}

#[test]
fn what_is_right_passes() {
    let right = |text: &str| {
        complaints("x.rs", text, "//! **Orderings.** Those of `x` are Acquire.").is_empty()
            && complaints("x.rs", text, "").is_empty()
    };
    assert!(right("    // Acquire, with the Release of the close.\n    word.load(Ordering::Acquire)"));
    assert!(right("    word.fetch_or(1, ordering!(Release, \"x\"))"));
    assert!(right("//! **Orderings.** All are Acquire.\nword.load(Ordering::Acquire)"));
    assert!(right("    // Pairs with the fence in `park`.\n    fence(Ordering::SeqCst);"));
    assert!(right("    if !mutation!(\"x\") {\n        fence(Ordering::SeqCst);\n    }"));
    assert!(right("use std::cmp::Ordering;\nword.load(Relaxed)\n#[cfg(test)]\nword.load(Acquire)"));
    assert!(complaints("x.rs", "word.load(Acquire)", "//! **Orderings.** Those of `x` are Acquire.").is_empty());
}
