//! What is sent, and what each answer means.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use sinkworks::test_util::check_contract;
use sinkworks::webhook::signature::{Secret, Signer};
use sinkworks::webhook::{DeliveryError, Method, Webhook, WebhookError};
use sinkworks::{Class, Pool, Queue, Shutdown, Sink, WriteError};

use crate::receiver::Receiver;
use crate::{EVENT, Pushed, cause, failure, webhook};

#[test]
fn an_event_is_posted_as_json() {
    let receiver = Receiver::status(200);
    let webhook = webhook(&receiver.url("/hook?key=1"));
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
    let webhook: Box<dyn Sink<str>> = Box::new(webhook(&receiver.url("/")));
    webhook.write("text").unwrap();
    assert_eq!(receiver.posts()[0].body, "\"text\"");
}

#[test]
fn a_2xx_is_a_delivery() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), String::new()));
    for status in [200, 201, 202, 204, 206, 299] {
        webhook(&receiver.url(&format!("/{status}"))).write(&EVENT).unwrap();
    }
    assert_eq!(receiver.posts().len(), 6);
}

#[test]
fn every_other_status_has_its_class() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), "no".to_owned()));
    let transient = [408, 425, 429, 500, 501, 502, 503, 504, 507, 599, 600].map(|status| (status, Class::Transient));
    let permanent = [300, 304, 400, 401, 403, 404, 405, 409, 413, 415, 418, 422, 499];
    for (status, class) in transient.into_iter().chain(permanent.map(|status| (status, Class::Permanent))) {
        let webhook = webhook(&receiver.url(&format!("/{status}")));
        let failure = failure(webhook.write(&EVENT));
        assert_eq!(failure.class(), class, "{status}");
        assert!(matches!(cause(&failure), DeliveryError::Status(got) if *got == status), "{status}: {failure:?}");
        assert_eq!(failure.retry_after(), None, "{status}");
    }
}

#[test]
fn an_endpoint_that_is_gone_closes_the_webhook() {
    let receiver = Receiver::status(410);
    let webhook = webhook(&receiver.url("/"));
    assert!(!webhook.is_gone());
    for _ in 0..2 {
        assert!(matches!(webhook.write(&EVENT), Err(WriteError::Closed)));
    }
    assert!(webhook.is_gone());
    assert_eq!(receiver.posts().len(), 1, "the second one was not sent");
}

#[test]
fn a_queue_in_front_of_an_endpoint_that_is_gone_accounts_for_its_events() {
    let receiver = Receiver::status(410);
    let pool = Pool::builder().threads(1).build().unwrap();
    let queue = Queue::builder(webhook(&receiver.url("/"))).pool(&pool).build().unwrap();
    queue.write(&1).unwrap();
    pool.wait_idle();
    let ledger = queue.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.pending), (1, 0, 0));
    assert!(matches!(queue.write(&2), Err(WriteError::Closed)));
}

#[test]
fn which_statuses_mean_success_can_be_chosen() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), String::new()));
    let answer = |status: u16| {
        let builder = Webhook::builder(&receiver.url(&format!("/{status}"))).allow_loopback();
        builder.success_statuses([202, 410]).build().unwrap().write(&EVENT)
    };
    answer(202).unwrap();
    answer(410).unwrap();
    assert_eq!(failure(answer(200)).class(), Class::Permanent);
    assert_eq!(failure(answer(503)).class(), Class::Transient);
    for wrong in [&[][..], &[100], &[200, 600]] {
        let builder = Webhook::builder("http://example.com/").success_statuses(wrong.iter().copied());
        assert_eq!(builder.build().unwrap_err(), WebhookError::SuccessStatuses);
    }
}

#[test]
fn the_method_can_be_chosen() {
    let receiver = Receiver::status(200);
    for (method, name) in [(Method::Post, "POST"), (Method::Put, "PUT"), (Method::Patch, "PATCH")] {
        Webhook::builder(&receiver.url("/")).allow_loopback().method(method).build().unwrap().write(&EVENT).unwrap();
        let posts = receiver.posts();
        let post = posts.last().unwrap();
        assert_eq!((post.method.as_str(), post.body.as_str()), (name, r#"{"tag":"a\"b","size":7}"#));
    }
}

#[test]
fn an_event_that_is_too_large_fails_for_good_and_is_not_sent() {
    let receiver = Receiver::status(200);
    let webhook = Webhook::builder(&receiver.url("/")).allow_loopback().max_body(10).build().unwrap();
    webhook.write("12345678").unwrap();
    let failure = failure(webhook.write("123456789"));
    assert_eq!(failure.class(), Class::Permanent);
    assert!(matches!(cause(&failure), DeliveryError::TooLarge { max: 10 }), "{failure:?}");
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn a_redirect_is_a_permanent_failure_and_not_followed() {
    let second = Receiver::status(200);
    for status in [301, 302, 303, 307, 308] {
        let location = second.url("/elsewhere");
        let first = Receiver::new(move |_| (status, vec![("location", location.clone())], String::new()));
        let failure = failure(webhook(&first.url("/")).write(&EVENT));
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
    let builder = Webhook::builder(&receiver.url("/")).allow_loopback();
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
    let failure = failure(webhook(&receiver.url("/")).write(&event));
    assert_eq!(failure.class(), Class::Permanent);
    assert!(matches!(cause(&failure), DeliveryError::Encode(_)), "{failure:?}");
    assert!(receiver.posts().is_empty());
}

#[test]
fn after_a_close_nothing_is_sent() {
    let receiver = Receiver::status(200);
    let webhook = webhook(&receiver.url("/"));
    let sink: &dyn Sink<Pushed> = &webhook;
    sink.write(&EVENT).unwrap();
    for how in [Shutdown::Drain, Shutdown::Abort] {
        let report = sink.close(how).unwrap();
        assert_eq!((report.components().count(), report.errors().len()), (0, 0));
        assert!(matches!(sink.write(&EVENT), Err(WriteError::Closed)));
    }
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn a_webhook_keeps_the_contract_signed_and_not() {
    let receiver = Receiver::status(204);
    let builder = || Webhook::builder(&receiver.url("/")).allow_loopback();
    check_contract(|| builder().build().unwrap(), &EVENT);
    let signer = Signer::new(Secret::from_bytes(&[7; 32]).unwrap());
    check_contract(|| builder().signer(signer.clone()).build().unwrap(), &EVENT);
}
