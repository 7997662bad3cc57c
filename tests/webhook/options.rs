//! What the builder takes and refuses, and what the text forms show.

use std::time::Duration;

use sinkworks::webhook::{Webhook, WebhookError};
use sinkworks::{Sink, WriteError};

use crate::receiver::Receiver;
use crate::{EVENT, Pushed, failure, refusing, webhook};

#[test]
fn headers_are_sent_and_the_last_of_a_name_counts() {
    let receiver = Receiver::status(200);
    let webhook = Webhook::builder(&receiver.url("/"))
        .allow_loopback()
        .header("X-Tenant", "a")
        .header("x-tenant", "b")
        .header("content-type", "application/cloudevents+json")
        .header("user-agent", "mine")
        .build()
        .unwrap();
    webhook.write(&EVENT).unwrap();
    let post = &receiver.posts()[0];
    assert_eq!(post.header("x-tenant"), ["b"]);
    assert_eq!(post.header("content-type"), ["application/cloudevents+json"]);
    assert_eq!(post.header("user-agent"), ["mine"]);
}

#[test]
fn credentials_of_the_url_are_sent_as_basic_authorization() {
    let receiver = Receiver::status(200);
    let url = receiver.url("/").replace("http://", "http://user:secret@");
    webhook(&url).write(&EVENT).unwrap();
    let post = &receiver.posts()[0];
    assert_eq!(post.header("authorization"), ["Basic dXNlcjpzZWNyZXQ="]);
    assert!(!post.header("host")[0].contains("secret"));
}

#[test]
fn header_injection_is_refused() {
    let build = |name: &str, value: &str| Webhook::builder("http://example.com").header(name, value).build();
    let value = WebhookError::HeaderValue { name: "x-a".to_owned() };
    for injected in ["1\r\nhost: evil", "1\n", "\r", "1\0", "\u{7f}"] {
        let error = build("X-A", injected).unwrap_err();
        assert_eq!(error, value, "{injected:?}");
        assert!(!error.to_string().contains("evil"));
    }
    for name in ["", "x y", "x:", "x\r\ny", "ü"] {
        assert_eq!(build(name, "1").unwrap_err(), WebhookError::HeaderName, "{name:?}");
    }
    for name in ["Content-Length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade"] {
        assert_eq!(build(name, "1").unwrap_err(), WebhookError::ReservedHeader { name: name.to_lowercase() });
    }
}

#[test]
fn an_unusable_url_is_refused_with_its_reason() {
    let table = [
        (
            WebhookError::NotAbsolute,
            &[
                "",
                "/hook",
                "example.com",
                "example.com/hook",
                "//example.com/",
                "mailto:a@b.c",
                "/a?b=http://c/",
                "://example.com",
            ][..],
        ),
        (
            WebhookError::Scheme,
            &["ftp://example.com/", "file:///etc/passwd", "httpx://example.com", "ws://example.com"],
        ),
        (WebhookError::NoHost, &["http://", "https:///path", "http://?q", "http://:80/", "http://user@:80/"]),
        (
            WebhookError::Port,
            &["http://example.com:/", "http://example.com:0/", "http://[::1]:70000/", "http://example.com:x/"],
        ),
        (WebhookError::Credentials, &["http://user:se%40cret@example.com/", "http://user:se:cret@example.com/"]),
        (
            WebhookError::Unparsable,
            &[
                "http://exa mple.com/",
                "http://user@/",
                "http://[::1/",
                "http://bücher.example/",
                "http://example.com/a b",
            ],
        ),
    ];
    for (expected, urls) in table {
        for url in urls {
            let error = Webhook::new(url).map(|_| ()).unwrap_err();
            assert_eq!(error, expected, "{url:?}");
            assert!(!format!("{error} {error:?}").contains("cret"), "{error:?}");
        }
    }
    for url in ["http://example.com", "HTTPS://example.com", "http://user:@[2606:4700::1]:8080/a%20b?c#d"] {
        assert!(Webhook::new(url).is_ok(), "{url:?}");
    }
}

#[test]
fn a_timeout_of_zero_is_refused_and_one_without_end_is_not() {
    let builder = || Webhook::builder("http://example.com");
    let zero = |option| WebhookError::ZeroTimeout { option };
    assert_eq!(builder().timeout(Duration::ZERO).build().unwrap_err(), zero("timeout"));
    assert_eq!(builder().connect_timeout(Duration::ZERO).build().unwrap_err(), zero("connect_timeout"));

    let receiver = Receiver::new(|_| (503, vec![("retry-after", "5".to_owned())], String::new()));
    let builder =
        Webhook::builder(&receiver.url("/")).allow_loopback().timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let failure = failure(builder.max_retry_after(Duration::MAX).build().unwrap().write(&EVENT));
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(5)));
}

#[test]
fn every_webhook_has_an_id_of_its_own() {
    let webhooks = [(); 2].map(|()| Webhook::new("http://example.com").unwrap());
    let ids = webhooks.each_ref().map(Sink::<Pushed>::id);
    assert!(ids[0].is_some());
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], Sink::<str>::id(&webhooks[0]));
}

#[test]
fn no_text_form_shows_a_secret() {
    let url = refusing().replace("http://", "http://user:secret@") + "secret?token=secret#secret";
    let builder = Webhook::builder(&url).allow_loopback().header("authorization", "secret");
    let text = format!("{builder:?}");
    let webhook = builder.build().unwrap();
    let failure = failure(webhook.write("secret"));
    let text = format!("{text} {webhook:?} {failure} {failure:?} {:?}", WriteError::from(failure.clone()));
    assert!(!text.contains("secret") && !text.contains("user"), "{text}");
    assert!(text.contains("http://127.0.0.1:"), "{text}");
}

#[test]
fn a_name_shows_in_debug_and_must_be_printable() {
    let named = Webhook::builder("http://example.com/").name("orders").build().unwrap();
    assert!(format!("{named:?}").contains("orders"));
    for bad in ["", "a\nb"] {
        assert_eq!(Webhook::builder("http://example.com/").name(bad).build().unwrap_err(), WebhookError::Name);
    }
}
