//! Where a webhook may connect to.

use sinkworks::webhook::{AddressKind, AddressPolicy, DeliveryError, Webhook, WebhookError};
use sinkworks::{Class, Sink};

use crate::receiver::Receiver;
use crate::{EVENT, cause, failure};

#[test]
fn an_address_in_the_url_is_refused_when_the_webhook_is_built() {
    let table = [
        (AddressKind::Loopback, "http://127.0.0.1:8080/"),
        (AddressKind::Loopback, "http://[::1]/"),
        (AddressKind::Loopback, "http://[::ffff:127.0.0.1]/"),
        (AddressKind::Loopback, "http://localhost:8080/"),
        (AddressKind::Loopback, "http://LOCALHOST/"),
        (AddressKind::Loopback, "http://localhost./"),
        (AddressKind::Loopback, "http://a.localhost/"),
        (AddressKind::LinkLocal, "http://169.254.169.254/latest/meta-data"),
        (AddressKind::LinkLocal, "http://[fe80::1]/"),
        (AddressKind::Private, "https://user:secret@10.0.0.1/"),
        (AddressKind::Private, "https://[fd00::1]/"),
        (AddressKind::Shared, "https://100.100.100.200/"),
        (AddressKind::Unspecified, "http://0.0.0.0/"),
        (AddressKind::Multicast, "http://224.0.0.1/"),
    ];
    for (kind, url) in table {
        let error = Webhook::new(url).unwrap_err();
        let WebhookError::Address(refused) = &error else { panic!("{url}: {error:?}") };
        assert_eq!(refused.kind(), kind, "{url}");
        assert!(!format!("{error} {error:?}").contains("secret"));
        assert!(Webhook::builder(url).addresses(AddressPolicy::any()).build().is_ok(), "{url}");
    }
    for url in ["http://1.1.1.1/", "http://[2606:4700::1]/", "http://localhost.example.com/", "http://example.com/"] {
        assert!(Webhook::new(url).is_ok(), "{url}");
    }
}

#[test]
fn an_address_that_a_name_stands_for_is_refused_when_it_is_known() {
    let receiver = Receiver::status(200);
    let port = receiver.url("").rsplit(':').next().unwrap().to_owned();
    // None of them is an address in a URL's sense, and each is one for the system's look-up.
    for name in ["127.1", "2130706433", "0x7f.1", "0177.0.0.1"] {
        let webhook = Webhook::new(&format!("http://{name}:{port}/")).unwrap();
        let failure = failure(webhook.write(&EVENT));
        // What a name stands for can change: it is as if it were unknown.
        assert_eq!(failure.class(), Class::Transient);
        let DeliveryError::Refused(refused) = cause(&failure) else { panic!("{name}: {failure:?}") };
        assert_eq!((refused.kind(), refused.is_denied()), (AddressKind::Loopback, false));
        assert!(receiver.posts().is_empty());
    }
    Webhook::builder(&format!("http://127.1:{port}/")).allow_loopback().build().unwrap().write(&EVENT).unwrap();
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn a_denied_network_is_refused_whatever_allows_it() {
    let policy = AddressPolicy::any().deny("127.0.0.0/8".parse().unwrap());
    let build = |host: &str| Webhook::builder(&format!("http://{host}:1/")).addresses(policy.clone()).build();
    let WebhookError::Address(refused) = build("127.0.0.1").unwrap_err() else { panic!("another error") };
    assert!(refused.is_denied());
    let failure = failure(build("127.1").unwrap().write(&EVENT));
    assert!(matches!(cause(&failure), DeliveryError::Refused(refused) if refused.is_denied()), "{failure:?}");
}
