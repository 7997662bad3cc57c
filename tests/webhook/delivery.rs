//! What is sent, and what each answer means.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use sinkworks::webhook::{DeliveryError, Webhook};
use sinkworks::{Class, Shutdown, Sink, WriteError};

use crate::receiver::Receiver;
use crate::{EVENT, Pushed, cause, failure};

#[test]
fn an_event_is_posted_as_json() {
    let receiver = Receiver::status(200);
    let webhook = Webhook::new(&receiver.url("/hook?key=1")).unwrap();
    webhook.write(&EVENT).unwrap();

    let posts = receiver.posts();
    let [post] = posts.as_slice() else { panic!("{} posts", posts.len()) };
    assert_eq!((post.method.as_str(), post.path.as_str()), ("POST", "/hook?key=1"));
    assert_eq!(post.body, r#"{"tag":"a\"b","size":7}"#);
    assert_eq!(post.header("content-type"), ["application/json"]);
    assert_eq!(post.header("content-length"), [post.body.len().to_string()]);
    assert_eq!(post.header("user-agent"), [concat!("sinkworks/", env!("CARGO_PKG_VERSION"))]);
    assert!(post.header("authorization").is_empty());
    assert!(post.header("accept-encoding").is_empty());
}

#[test]
fn an_event_may_be_unsized_and_the_sink_a_trait_object() {
    let receiver = Receiver::status(204);
    let webhook: Box<dyn Sink<str>> = Box::new(Webhook::new(&receiver.url("/")).unwrap());
    webhook.write("text").unwrap();
    assert_eq!(receiver.posts()[0].body, "\"text\"");
}

#[test]
fn a_2xx_is_a_delivery() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), String::new()));
    for status in [200, 201, 202, 204, 206, 299] {
        Webhook::new(&receiver.url(&format!("/{status}"))).unwrap().write(&EVENT).unwrap();
    }
    assert_eq!(receiver.posts().len(), 6);
}

#[test]
fn every_other_status_has_its_class() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), "no".to_owned()));
    let transient = [408, 425, 429, 500, 501, 502, 503, 504, 507, 599, 600].map(|status| (status, Class::Transient));
    let permanent = [300, 304, 400, 401, 403, 404, 405, 409, 410, 413, 415, 418, 422, 499];
    for (status, class) in transient.into_iter().chain(permanent.map(|status| (status, Class::Permanent))) {
        let webhook = Webhook::new(&receiver.url(&format!("/{status}"))).unwrap();
        let failure = failure(webhook.write(&EVENT));
        assert_eq!(failure.class(), class, "{status}");
        assert!(matches!(cause(&failure), DeliveryError::Status(got) if *got == status), "{status}: {failure:?}");
        assert_eq!(failure.retry_after(), None, "{status}");
    }
}

#[test]
fn a_redirect_is_a_permanent_failure_and_not_followed() {
    let second = Receiver::status(200);
    for status in [301, 302, 303, 307, 308] {
        let location = second.url("/elsewhere");
        let first = Receiver::new(move |_| (status, vec![("location", location.clone())], String::new()));
        let failure = failure(Webhook::new(&first.url("/")).unwrap().write(&EVENT));
        assert_eq!(failure.class(), Class::Permanent, "{status}");
        assert!(matches!(cause(&failure), DeliveryError::Status(got) if *got == status), "{failure:?}");
        assert_eq!(first.posts().len(), 1);
    }
    assert!(second.posts().is_empty());
}

/// What a webhook passes on of `Retry-After: value`, sent with this status.
fn retry_after(status: u16, value: impl Into<String>, cap: Option<Duration>) -> Option<Duration> {
    let value = value.into();
    let receiver = Receiver::new(move |_| (status, vec![("Retry-After", value.clone())], String::new()));
    let builder = Webhook::builder(&receiver.url("/"));
    let builder = if let Some(cap) = cap { builder.max_retry_after(cap) } else { builder };
    failure(builder.build().unwrap().write(&EVENT)).retry_after()
}

#[test]
fn retry_after_in_seconds_is_passed_on() {
    for status in [408, 425, 429, 500, 503] {
        assert_eq!(retry_after(status, "7", None), Some(Duration::from_secs(7)), "{status}");
    }
    assert_eq!(retry_after(503, "soon", None), None);
}

#[test]
fn retry_after_is_not_passed_on_where_a_retry_makes_no_sense() {
    assert_eq!(retry_after(400, "7", None), None);
    assert_eq!(retry_after(302, "7", None), None);
}

#[test]
fn retry_after_as_a_date_is_passed_on() {
    let at = |time| httpdate::fmt_http_date(time);
    let now = SystemTime::now();
    let delay = retry_after(503, at(now + Duration::from_secs(600)), None).unwrap();
    assert!((Duration::from_secs(540)..=Duration::from_secs(600)).contains(&delay), "{delay:?}");
    assert_eq!(retry_after(503, at(now - Duration::from_secs(600)), None), Some(Duration::ZERO));
}

#[test]
fn retry_after_is_capped() {
    let hour = Duration::from_secs(3600);
    assert_eq!(retry_after(503, "86400", None), Some(hour));
    assert_eq!(retry_after(503, "99999999999999999999", None), Some(hour));
    assert_eq!(retry_after(503, httpdate::fmt_http_date(SystemTime::now() + 24 * hour), None), Some(hour));
    assert_eq!(retry_after(503, "86400", Some(Duration::from_secs(9))), Some(Duration::from_secs(9)));
}

#[test]
fn an_event_that_cannot_be_encoded_fails_for_good_and_is_not_sent() {
    let receiver = Receiver::status(200);
    let event = HashMap::from([(vec![1], 2)]);
    let failure = failure(Webhook::new(&receiver.url("/")).unwrap().write(&event));
    assert_eq!(failure.class(), Class::Permanent);
    assert!(matches!(cause(&failure), DeliveryError::Encode(_)), "{failure:?}");
    assert!(receiver.posts().is_empty());
}

#[test]
fn after_a_close_nothing_is_sent() {
    let receiver = Receiver::status(200);
    let webhook = Webhook::new(&receiver.url("/")).unwrap();
    let sink: &dyn Sink<Pushed> = &webhook;
    sink.write(&EVENT).unwrap();
    for how in [Shutdown::Drain, Shutdown::Abort] {
        let report = sink.close(how).unwrap();
        assert_eq!((report.components().count(), report.errors().len()), (0, 0));
        assert!(matches!(sink.write(&EVENT), Err(WriteError::Closed)));
    }
    assert_eq!(receiver.posts().len(), 1);
}
