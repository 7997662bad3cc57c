//! Signatures, beside those of the crate `standardwebhooks`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use sinkworks::webhook::signature::{Secret, SecretError, Signer, Verifier, VerifyError, is_valid_id};
use sinkworks::webhook::{DeliveryError, Webhook, WebhookError};
use sinkworks::{Breaker, Class, Pool, Queue, Sink, SinkExt};
use ureq::http::HeaderMap;

use crate::receiver::{Posted, Receiver};
use crate::{EVENT, cause, failure};

const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

type Headers = Vec<(String, String)>;

fn signed(signer: &Signer, id: &str, now: SystemTime, body: &[u8]) -> Headers {
    signer.sign(id, now, body).map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn look_up<'h>(headers: &'h [(String, String)]) -> impl Fn(&str) -> Option<&'h str> {
    move |name| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn verify(verifier: &Verifier, post: &Posted) -> Result<String, VerifyError> {
    verifier.verify(look_up(&post.headers), post.body.as_bytes()).map(str::to_owned)
}

/// What the crate `standardwebhooks` says to the headers.
fn theirs(secret: &str, headers: &[(String, String)], body: &[u8]) -> Result<(), standardwebhooks::WebhookError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let Ok(name) = ureq::http::HeaderName::try_from(name) {
            map.insert(name, value.parse().unwrap());
        }
    }
    standardwebhooks::Webhook::new(secret).unwrap().verify(body, &map)
}

#[test]
fn known_signatures() {
    // From the tests of the specification's libraries.
    let table = [
        (
            (OLD, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553),
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            (NEW, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330),
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ];
    for ((key, id, seconds), body, expected) in table {
        let headers = Signer::new(secret(key)).sign(id, at(seconds), body.as_bytes());
        assert_eq!(
            headers,
            [
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-signature", expected.to_owned())
            ]
        );
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        let verifier = Verifier::new(secret(key));
        assert_eq!(verifier.verify_at(at(seconds), look_up(&headers), body.as_bytes()), Ok(id));
    }
}

proptest! {
    #[test]
    fn what_we_sign_they_accept_and_what_they_sign_we_accept(
        key in proptest::collection::vec(any::<u8>(), 24..=64),
        id in "[!-\\-/-~]{1,256}",
        body in "\\PC{0,200}",
    ) {
        let (now, secret) = (SystemTime::now(), Secret::from_bytes(&key).unwrap());
        let headers = signed(&Signer::new(secret.clone()), &id, now, body.as_bytes());
        let encoded = base64(&key);
        prop_assert!(theirs(&encoded, &headers, body.as_bytes()).is_ok());
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let their = standardwebhooks::Webhook::from_bytes(key).unwrap();
        let signature = their.sign(&id, seconds.try_into().unwrap(), body.as_bytes()).unwrap();
        prop_assert_eq!(&signature, &headers[2].1);
        prop_assert_eq!(Verifier::new(secret).verify(look_up(&headers), body.as_bytes()), Ok(id.as_str()));
    }

    #[test]
    fn whatever_is_changed_is_not_accepted(
        body in proptest::collection::vec(any::<u8>(), 1..100),
        what in 0..4_usize,
        place in any::<proptest::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let now = at(1_700_000_000);
        let verifier = Verifier::new(secret(OLD));
        let headers = signed(&Signer::new(secret(OLD)), "msg_1", now, &body);
        prop_assert!(verifier.verify_at(now, look_up(&headers), &body).is_ok());
        let (mut changed, mut other) = (headers, body.clone());
        if what == 3 {
            let place = place.index(other.len());
            other[place] ^= flip;
        } else {
            let mut bytes = changed[what].1.clone().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] = if bytes[place] == b'7' { b'8' } else { b'7' };
            changed[what].1 = String::from_utf8(bytes).unwrap();
        }
        prop_assert!(verifier.verify_at(now, look_up(&changed), &other).is_err());
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[test]
fn a_secret_is_parsed_or_refused_with_its_reason() {
    let text = |bytes: usize| format!("whsec_{}", base64(&vec![7; bytes]));
    for bytes in [24, 25, 32, 63, 64] {
        assert!(text(bytes).parse::<Secret>().is_ok(), "{bytes}");
    }
    let table = [
        (String::new(), SecretError::Prefix),
        (base64(&[7; 32]), SecretError::Prefix),
        (text(32).to_uppercase(), SecretError::Prefix),
        ("whsec_".to_owned(), SecretError::Length { bytes: 0 }),
        (text(23), SecretError::Length { bytes: 23 }),
        (text(65), SecretError::Length { bytes: 65 }),
        (text(1_000_000), SecretError::Length { bytes: 1_000_002 }),
        (text(32).replace('=', ""), SecretError::Encoding),
        (text(32) + " ", SecretError::Encoding),
        ("whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD".to_owned(), SecretError::Encoding),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<Secret>().unwrap_err(), expected, "{text:.80}");
    }
    assert_eq!(Secret::from_bytes(&[7; 23]).unwrap_err(), SecretError::Length { bytes: 23 });
}

#[test]
fn a_request_is_accepted_within_the_tolerance_only() {
    let now = 1_700_000_000;
    let headers = signed(&Signer::new(secret(OLD)), "msg_1", at(now), b"{}");
    let verifier = Verifier::new(secret(OLD));
    let when = |verifier: &Verifier, seconds| verifier.verify_at(at(seconds), look_up(&headers), b"{}");
    assert!([now - 300, now, now + 300].into_iter().all(|seconds| when(&verifier, seconds).is_ok()));
    assert_eq!(when(&verifier, now + 301), Err(VerifyError::TooOld));
    assert_eq!(when(&verifier, now - 301), Err(VerifyError::TooNew));
    assert_eq!(when(&verifier, 0), Err(VerifyError::TooNew));
    let strict = verifier.tolerance(Duration::ZERO);
    assert!(when(&strict, now).is_ok());
    assert_eq!(when(&strict, now + 1), Err(VerifyError::TooOld));
}

#[test]
fn a_request_without_a_right_signature_is_refused_with_its_reason() {
    let (now, verifier) = (at(1_700_000_000), Verifier::new(secret(OLD)));
    let headers = signed(&Signer::new(secret(OLD)), "msg_1", now, b"{}");
    let changed = |index: usize, value: &str| {
        let mut headers = headers.clone();
        value.clone_into(&mut headers[index].1);
        verifier.verify_at(now, look_up(&headers), b"{}").map(|_| ())
    };
    for (index, header) in ["webhook-id", "webhook-timestamp", "webhook-signature"].into_iter().enumerate() {
        let mut headers = headers.clone();
        headers.remove(index);
        let answer = verifier.verify_at(now, look_up(&headers), b"{}");
        assert_eq!(answer, Err(VerifyError::Missing { header }));
    }
    let long = "x".repeat(257);
    for id in ["", "msg.1", "msg 1", "msg\u{7f}", "mség", &long] {
        assert!(!is_valid_id(id));
        assert_eq!(changed(0, id), Err(VerifyError::Id), "{id:?}");
    }
    for timestamp in ["", "-1", "+1700000000", "1700000000.0", "soon", "99999999999999999999"] {
        assert_eq!(changed(1, timestamp), Err(VerifyError::Timestamp), "{timestamp:?}");
    }
    let right = &headers[2].1;
    let bare = right.strip_prefix("v1,").unwrap();
    for signature in ["", "v1", "v1a,AAAA", &format!("v2,{bare}"), &format!("V1,{bare}"), bare, "v1,!"] {
        assert_eq!(changed(2, signature), Err(VerifyError::NoSignature), "{signature:?}");
    }
    for signature in ["v1,", "v1,AAAA", &format!("v1,{}", base64(&[0; 32]))] {
        assert_eq!(changed(2, signature), Err(VerifyError::Mismatch), "{signature:?}");
    }
    assert_eq!(changed(2, &format!("v1a,xyz v1,AAAA  {right} v2,x")), Ok(()));
}

#[test]
fn a_webhook_signs_each_request_and_a_new_secret_can_be_brought_in() {
    let receiver = Receiver::status(204);
    let signer = Signer::new(secret(NEW)).and(secret(OLD));
    let webhook = Webhook::builder(&receiver.url("/")).allow_loopback().signer(signer).build().unwrap();
    webhook.write(&EVENT).unwrap();
    webhook.write(&EVENT).unwrap();
    let posts = receiver.posts();
    let mut ids = Vec::new();
    for post in &posts {
        assert_eq!(post.header("webhook-signature")[0].split(' ').count(), 2);
        for key in [OLD, NEW] {
            theirs(key, &post.headers, post.body.as_bytes()).unwrap();
            ids.push(verify(&Verifier::new(secret(key)), post).unwrap());
        }
        let other = Verifier::new(Secret::from_bytes(&[0; 24]).unwrap());
        assert_eq!(verify(&other, post), Err(VerifyError::Mismatch));
        assert!(verify(&other.or(secret(OLD)), post).is_ok());
    }
    ids.dedup();
    assert_eq!(ids.len(), 2, "one for each event");
}

#[test]
fn the_id_stays_the_same_when_an_event_is_sent_again() {
    let failures = Arc::new(AtomicU32::new(3));
    let left = failures.clone();
    let fails = move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let receiver = Receiver::new(move |_| (if fails() { 503 } else { 204 }, Vec::new(), String::new()));
    let builder = Webhook::builder(&receiver.url("/")).allow_loopback().signer(Signer::new(secret(OLD)));
    let pool = Pool::builder().threads(1).build().unwrap();
    let retrying = builder.build().unwrap().retrying(Breaker::new(100, Duration::ZERO));
    let queue = Queue::builder(retrying).pool(&pool).build().unwrap();
    queue.write(&1).unwrap();
    pool.wait_idle();
    failures.store(1, Ordering::Relaxed);
    queue.write(&2).unwrap();
    pool.wait_idle();
    let posts = receiver.posts();
    let ids: Vec<_> = posts.iter().map(|post| verify(&Verifier::new(secret(OLD)), post).unwrap()).collect();
    assert_eq!(ids.len(), 6);
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] == ids[5] && ids[0] != ids[4], "{ids:?}");
}

#[test]
fn two_queues_to_one_webhook_never_share_an_id() {
    let receiver = Receiver::status(204);
    let builder = Webhook::builder(&receiver.url("/")).allow_loopback().signer(Signer::new(secret(OLD)));
    let (webhook, pool) = (Arc::new(builder.build().unwrap()), Pool::builder().threads(1).build().unwrap());
    let queues = [(); 2].map(|()| Queue::builder(webhook.clone()).pool(&pool).build().unwrap());
    for queue in &queues {
        queue.write(&EVENT).unwrap();
    }
    pool.wait_idle();
    webhook.write(&EVENT).unwrap();
    let mut ids: Vec<_> = receiver.posts().iter().map(|post| post.header("webhook-id")[0].to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn an_event_may_bring_its_own_id() {
    let receiver = Receiver::status(204);
    let builder = Webhook::builder(&receiver.url("/")).allow_loopback().signer(Signer::new(secret(OLD)));
    let webhook = builder.id_from(|event: &String| format!("id-{event}")).build().unwrap();
    webhook.write(&"7".to_owned()).unwrap();
    assert_eq!(verify(&Verifier::new(secret(OLD)), &receiver.posts()[0]).as_deref(), Ok("id-7"));
    for bad in ["a.b", "a\r\nx: y", "ü"] {
        let failure = failure(webhook.write(&bad.to_owned()));
        assert_eq!(failure.class(), Class::Permanent);
        assert!(matches!(cause(&failure), DeliveryError::Id), "{failure:?}");
    }
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn a_signature_s_headers_are_not_for_others_to_set() {
    for name in ["Webhook-Id", "webhook-timestamp", "webhook-signature"] {
        let builder = || Webhook::builder("http://example.com/").header(name, "1");
        assert!(builder().build().is_ok(), "not signed");
        let error = builder().signer(Signer::new(secret(OLD))).build().unwrap_err();
        assert_eq!(error, WebhookError::ReservedHeader { name: name.to_lowercase() });
    }
}

#[test]
fn no_text_form_shows_a_secret() {
    let receiver = Receiver::status(503);
    let signer = Signer::new(secret(OLD)).and(secret(NEW));
    let verifier = Verifier::new(secret(OLD)).or(secret(NEW));
    let builder = Webhook::builder(&receiver.url("/")).allow_loopback().signer(signer.clone());
    let mut texts = vec![format!("{:?} {signer:?} {verifier:?} {builder:?}", secret(OLD))];
    let webhook = builder.build().unwrap();
    let failure = failure(webhook.write(&EVENT));
    texts.push(format!("{webhook:?} {failure} {failure:?}"));
    for broken in
        ["C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_C2FVsBQIhrscChlQIMV", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7o!"]
    {
        let error = broken.parse::<Secret>().unwrap_err();
        texts.push(format!("{error} {error:?}"));
    }
    let queue = Queue::builder(webhook).name("signed").build().unwrap();
    let _: &dyn Sink<u8> = &queue;
    texts.push(sinkworks::telemetry::topology().to_json());
    let metrics =
        sinkworks::telemetry::Exporter::install().map_or_else(|error| error.to_string(), |exporter| exporter.render());
    texts.push(metrics);
    let text = texts.concat();
    for secret in ["C2FVsBQIhrsc", "MfKQ9r8GKYqr", "0b615"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("signed"), "{text}");
}
