//! Does what arrived agree with what happened, and is it signed?

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use serde_json::Value;
use sinkworks::webhook::signature::{ID, Secret, Verifier};
use ureq::http::{HeaderMap, HeaderName};

use super::destination::{Request, id};

/// What a destination has taken.
pub(crate) struct Arrived<'b> {
    /// Each event once, with its request, in the order in which they came.
    pub(crate) events: Vec<(&'b Request, &'b Value)>,
    pub(crate) duplicates: usize,
}

impl<'b> Arrived<'b> {
    pub(crate) fn of(book: &'b [Request]) -> Self {
        let taken = book.iter().filter(|request| request.taken);
        let all: Vec<_> = taken.flat_map(|request| request.events.iter().map(move |event| (request, event))).collect();
        let (mut seen, count) = (HashSet::new(), all.len());
        let events: Vec<_> = all.into_iter().filter(|(_, event)| seen.insert(id(event))).collect();
        Self { duplicates: count - events.len(), events }
    }

    fn ids(&self) -> Vec<&str> {
        self.events.iter().map(|(_, event)| id(event)).collect()
    }

    /// These are the events that the registry told, all of them, unchanged and in their order.
    #[track_caller]
    pub(crate) fn expect(&self, told: &Self, name: &str) {
        expect_same(name, &told.ids(), &self.ids());
        assert_eq!(self.ids(), told.ids(), "{name}: out of order");
        for ((_, got), (_, told)) in self.events.iter().zip(&told.events) {
            assert_eq!(got, told, "{name}: changed");
        }
    }
}

/// Both have the same, each as often.
#[track_caller]
pub(crate) fn expect_same<T: Ord + Clone + Debug>(name: &str, due: &[T], got: &[T]) {
    let without = |some: &[T], others: &[T]| {
        let mut others = others.to_vec();
        others.sort();
        let mut some = some.to_vec();
        some.sort();
        some.retain(|one| others.binary_search(one).map(|at| others.remove(at)).is_err());
        some
    };
    let (missing, foreign) = (without(due, got), without(got, due));
    let first = |some: &[T]| format!("{:#?}", &some[..some.len().min(10)]);
    assert!(
        missing.is_empty() && foreign.is_empty(),
        "{name}: {} of {} are missing, the first are {}\nand {} are there that should not be, the first are {}",
        missing.len(),
        due.len(),
        first(&missing),
        foreign.len(),
        first(&foreign),
    );
}

/// How many signatures were looked at, each by the crate itself and by the crate `standardwebhooks`.
#[derive(Default)]
pub(crate) struct Signatures {
    pub(crate) valid: usize,
    /// What the endpoint's secrets should accept, and at least one implementation did not.
    pub(crate) invalid: usize,
    /// What the other endpoint's secrets accept, by at least one implementation.
    pub(crate) forgeable: usize,
}

impl Signatures {
    /// Every request, refused ones too, is signed with each of `own`, and with none of `others`.
    pub(crate) fn look_at(&mut self, book: &[Request], own: &[&str], others: &[&str]) {
        for request in book {
            for secret in own {
                let good = ours(secret, request) && theirs(secret, request);
                *(if good { &mut self.valid } else { &mut self.invalid }) += 1;
            }
            let forgeable = |secret: &&&str| ours(secret, request) || theirs(secret, request);
            self.forgeable += others.iter().filter(forgeable).count();
        }
    }
}

fn ours(secret: &str, request: &Request) -> bool {
    let verifier = Verifier::new(secret.parse::<Secret>().unwrap());
    let header = |name: &str| request.posted.header(name).first().copied();
    verifier.verify(header, request.posted.body.as_bytes()).is_ok()
}

fn theirs(secret: &str, request: &Request) -> bool {
    let headers = request.posted.headers.iter();
    let headers: HeaderMap =
        headers.map(|(name, value)| (HeaderName::try_from(name).unwrap(), value.parse().unwrap())).collect();
    let verifier = standardwebhooks::Webhook::new(secret).unwrap();
    verifier.verify(request.posted.body.as_bytes(), &headers).is_ok()
}

/// What is repeated has the id that it had, nothing else has it, and what was refused was taken later.
pub(crate) fn expect_steady_ids(book: &[Request], name: &str) {
    let (mut bodies, mut ids) = (HashMap::new(), HashMap::new());
    for request in book {
        let (id, body) = (request.header(ID), request.posted.body.as_str());
        assert_eq!(*bodies.entry(id).or_insert(body), body, "{name}: two bodies have the same webhook-id");
        assert_eq!(*ids.entry(body).or_insert(id), id, "{name}: a body was sent with two webhook-ids");
    }
    let taken: HashSet<&str> = book.iter().filter(|request| request.taken).map(|request| request.header(ID)).collect();
    let lost: Vec<&&str> = bodies.keys().filter(|id| !taken.contains(**id)).collect();
    assert!(lost.is_empty(), "{name}: refused and never repeated: {lost:?}");
}
