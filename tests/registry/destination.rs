//! A receiver of events that may be down at first, and keeps a book of every request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::receiver::{Posted, Receiver};

pub(crate) struct Destination {
    receiver: Receiver,
    book: Arc<Mutex<Vec<Request>>>,
}

/// A request, and how it was answered.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) taken: bool,
    pub(crate) posted: Posted,
    pub(crate) events: Vec<Value>,
}

impl Request {
    /// The value of a header, which must be there once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let [value] = self.posted.header(name)[..] else { panic!("{name}: {:?}", self.posted.headers) };
        value
    }
}

pub(crate) fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap()
}

impl Destination {
    pub(crate) fn up() -> Self {
        Self::down_for(Duration::ZERO)
    }

    /// Answers 503 for so long, from the first request on, and then to the first that has several events.
    pub(crate) fn down_for(outage: Duration) -> Self {
        let book = Arc::new(Mutex::new(Vec::<Request>::new()));
        let receiver = Receiver::new({
            let book = book.clone();
            move |posted| {
                let at = Instant::now();
                let mut body: Value = serde_json::from_str(&posted.body).unwrap();
                let Value::Array(events) = body["events"].take() else { panic!("no envelope: {}", posted.body) };
                let mut book = book.lock().unwrap();
                let is_down = at < book.first().map_or(at, |first| first.at) + outage;
                let is_several = |events: &[Value]| events.len() > 1;
                let stumbles =
                    !outage.is_zero() && is_several(&events) && !book.iter().any(|known| is_several(&known.events));
                let taken = !is_down && !stumbles;
                book.push(Request { at, taken, posted: posted.clone(), events });
                (if taken { 204 } else { 503 }, Vec::new(), String::new())
            }
        });
        Self { receiver, book }
    }

    pub(crate) fn url(&self) -> String {
        self.receiver.url("/events")
    }

    pub(crate) fn book(&self) -> Vec<Request> {
        self.book.lock().unwrap().clone()
    }

    /// How many events have been taken.
    pub(crate) fn taken(&self) -> usize {
        self.book.lock().unwrap().iter().filter(|request| request.taken).map(|request| request.events.len()).sum()
    }
}
