//! What comes from outside to the module `webhook`: bodies, headers, signatures, secrets and networks.

use std::io::Write;
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use sinkworks::webhook::formats::cloud_event::{Attribute, Batch, Binary, CloudEvent, Data, Structured};
use sinkworks::webhook::formats::registry::{Envelope, Notifications};
use sinkworks::webhook::formats::{Format, Json, Message};
use sinkworks::webhook::signature::{Secret, Signer, Verifier, is_valid_id};
use sinkworks::webhook::{AddressKind, AddressPolicy, Network};

use crate::fuzz::explore;

/// Text, JSON, nearly JSON, and what has the members of an event with good values and bad ones.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        3 => proptest::sample::select(&["\"1.0\"", "\"a\"", "\"\"", "null", "1", "-2147483649", "1.5", "true", "[]", "{}", "\"AQID\""][..])
            .prop_map(str::to_owned),
        1 => "\"[a-zé\\\\/+=:. -]{0,8}\"",
        1 => (0..300_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        1 => Just("\"2018-04-05T17:31:00Z\"".to_owned()),
        1 => Just("\"text/plain\"".to_owned()),
    ];
    let names = &[
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "data",
        "data_base64",
        "x",
        "events",
        "action",
        "target",
        "timestamp",
        "references",
        "X",
        "",
    ][..];
    let member = (proptest::sample::select(names), value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let object = vec(member.clone(), 0..8).prop_map(|members| format!("{{{}}}", members.join(",")));
    let start = "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"";
    let event = vec(member, 0..4).prop_map(move |members| {
        format!("{{{start}{}}}", members.iter().map(|member| format!(",{member}")).collect::<Vec<_>>().concat())
    });
    let one = prop_oneof![object, event].boxed();
    prop_oneof![
        4 => one.clone().prop_map(String::into_bytes),
        2 => vec(one.clone(), 0..5).prop_map(|events| format!("[{}]", events.join(",")).into_bytes()),
        2 => vec(one, 0..5).prop_map(|events| format!("{{\"events\":[{}]}}", events.join(",")).into_bytes()),
        1 => "[\\[\\]{},:\"0-9a-z ]{0,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..40),
    ]
}

fn written<E: ?Sized>(format: &impl Format<E>, event: &E) -> Message {
    let mut message = Message::new(1 << 20);
    format.encode(event, &mut message).unwrap();
    message
}

fn read_binary(message: &Message) -> CloudEvent {
    let headers = message.headers().map(|(name, value)| (name.to_owned(), value.to_vec()));
    let content_type = message.content_type().map(|value| ("content-type".to_owned(), value.as_bytes().to_vec()));
    CloudEvent::from_binary(headers.chain(content_type), message.body()).unwrap()
}

#[test]
fn every_body_is_an_event_or_refused() {
    explore("event bodies", &bodies(), |body| {
        if let Ok(event) = CloudEvent::from_json(&body) {
            event.validate().unwrap();
            assert_eq!(CloudEvent::from_json(written(&Structured, &event).body()), Ok(event.clone()));
        }
        if let Ok(events) = CloudEvent::from_json_batch(&body, 3) {
            assert!(events.len() <= 3);
            assert_eq!(CloudEvent::from_json_batch(written(&Batch, &events[..]).body(), 3), Ok(events));
        }
        if let Ok(envelope) = Envelope::parse(&body, 3) {
            assert!(envelope.events.len() <= 3);
            assert_eq!(Envelope::parse(written(&Notifications, &envelope).body(), 3), Ok(envelope));
        }
    });
}

/// A text that an attribute may have.
fn text() -> impl Strategy<Value = String> {
    let clean = |text: &String| {
        !text.chars().any(|c| c.is_control() || matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe)
    };
    prop_oneof![2 => "[ -~]{1,20}", 1 => "\\PC{1,10}", 1 => vec(any::<char>(), 1..6).prop_map(String::from_iter)]
        .prop_filter("valid", clean)
        // The white space around a header's value is not part of it, but encoded it is.
        .boxed()
}

fn events() -> impl Strategy<Value = CloudEvent> {
    let data = prop_oneof![
        "[a-z0-9é]{0,9}"
            .prop_map(|text| ("application/json", Data::Json(serde_json::value::to_raw_value(&text).unwrap()))),
        "\\PC{0,9}".prop_map(|text| ("text/plain", Data::Text(text))),
        vec(any::<u8>(), 0..9).prop_map(|bytes| ("image/png", Data::Binary(bytes))),
    ];
    let attribute = prop_oneof![
        any::<bool>().prop_map(Attribute::Boolean),
        any::<i32>().prop_map(Attribute::Integer),
        text().prop_map(Attribute::String)
    ];
    let name = "[a-z0-9]{1,10}".prop_filter("its own", |name| {
        !["id", "source", "type", "subject", "time", "data", "specversion", "dataschema", "datacontenttype"]
            .contains(&name.as_str())
    });
    let optional = (option::of(text()), option::of(text()), option::of(data));
    ((text(), text(), text()), optional, btree_map(name, attribute, 0..4)).prop_map(
        |((id, source, kind), (subject, schema, data), extensions)| {
            let mut event = CloudEvent::new(id, source, kind);
            if let Some(subject) = subject {
                event = event.with_subject(subject);
            }
            if let Some(schema) = schema {
                event = event.with_data_schema(schema);
            }
            if let Some((content_type, data)) = data {
                event = event.with_data(content_type, data);
            }
            extensions.into_iter().fold(event, |event, (name, value)| event.with_extension(name, value))
        },
    )
}

/// What an event is after a way through headers: every attribute is a text, and data of no bytes is none.
fn as_texts(event: &CloudEvent) -> CloudEvent {
    let extensions: Vec<_> = event.extensions().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    extensions.into_iter().fold(event.clone(), |event, (name, value)| event.with_extension(name, value))
}

#[test]
fn an_event_is_read_as_it_was_written() {
    explore("events", &events(), |event| {
        assert_eq!(CloudEvent::from_json(written(&Structured, &event).body()).as_ref(), Ok(&event));
        let binary = written(&Binary, &event);
        // A header's value is printable, and so no message can be split by it.
        assert!(binary.headers().all(|(_, value)| value.iter().all(u8::is_ascii_graphic)));
        let (back, expected) = (read_binary(&binary), as_texts(&event));
        if binary.body().is_empty() {
            assert_eq!(back.data(), None);
            assert_eq!((back.id(), back.subject()), (expected.id(), expected.subject()));
        } else {
            assert_eq!(back, expected);
        }
    });
}

#[test]
fn every_set_of_headers_is_an_event_or_refused() {
    let name = proptest::sample::select(
        &[
            "ce-specversion",
            "CE-ID",
            "ce-source",
            "ce-type",
            "ce-subject",
            "ce-time",
            "ce-x",
            "ce-",
            "ce-É",
            "content-type",
            "host",
        ][..],
    );
    let value = prop_oneof![
        2 => Just(b"1.0".to_vec()),
        2 => "[a-z/%\"\\\\0-9 ]{0,9}".prop_map(String::into_bytes),
        1 => "(%[0-9a-fA-F]{2}){0,5}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..9),
    ];
    let good = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    explore("event headers", &(vec((name, value), 0..6), any::<bool>(), bodies()), move |(headers, is_good, body)| {
        let good = good.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).filter(|_| is_good);
        if let Ok(event) = CloudEvent::from_binary(good.chain(headers), &body) {
            event.validate().unwrap();
            assert_eq!(read_binary(&written(&Binary, &event)), event);
        }
    });
}

#[test]
fn no_headers_are_a_signature() {
    let verifier = Verifier::new(Secret::from_bytes(&[7; 32]).unwrap());
    let signature = prop_oneof!["(v1,[A-Za-z0-9+/]{43}= ?){0,5}", "[v12a, =]{0,40}", "\\PC{0,40}"];
    explore(
        "signatures",
        &("\\PC{0,9}", "[0-9]{0,22}|\\PC{0,9}", signature, any::<u64>()),
        |(id, timestamp, signature, now)| {
            let header = |name: &str| match name {
                "webhook-id" => Some(id.as_str()),
                "webhook-timestamp" => Some(timestamp.as_str()),
                _ => Some(signature.as_str()),
            };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now >> 24);
            assert!(verifier.verify_at(now, header, b"").is_err());
            let signer = Signer::new(Secret::from_bytes(&[7; 32]).unwrap());
            let headers = signer.sign(&id, now, signature.as_bytes());
            let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
            assert_eq!(verifier.verify_at(now, header, signature.as_bytes()).is_ok(), is_valid_id(&id));
        },
    );
}

#[test]
fn a_secret_or_a_network_is_parsed_or_refused() {
    explore("secrets", &prop_oneof!["whsec_[A-Za-z0-9+/]{0,100}={0,3}", "\\PC{0,40}"], |text| {
        let _ = text.parse::<Secret>();
    });
    let network = prop_oneof![
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,3})?",
        "[0-9a-f:]{2,20}(/[0-9]{1,3})?",
        "::(ffff:)?[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,3})?",
        "\\PC{0,20}"
    ];
    explore("networks", &(network, any::<[u8; 16]>(), any::<[u8; 4]>()), |(text, v6, v4)| {
        let policy = AddressPolicy::public_only();
        for address in [v6.into(), v4.into()] {
            assert_eq!(policy.check(address).is_ok(), AddressKind::of(address) == AddressKind::Public);
            if let Ok(network) = text.parse::<Network>() {
                let allowed = policy.clone().allow(network).check(address).is_ok();
                assert!(allowed >= (network.contains(address) || policy.check(address).is_ok()));
                let denied = policy.clone().allow(network).deny(network).check(address);
                assert!(!network.contains(address) || denied.unwrap_err().is_denied());
            }
        }
    });
}

#[test]
fn a_message_takes_what_fits() {
    explore("message", &(vec(vec(any::<u8>(), 0..20), 0..6), 0..60_usize), |(parts, max)| {
        let mut message = Message::new(max);
        let mut expected = Vec::new();
        for part in &parts {
            if expected.len() + part.len() <= max {
                message.write_all(part).unwrap();
                expected.extend_from_slice(part);
            } else {
                assert!(message.write_all(part).is_err());
            }
        }
        assert_eq!(message.body(), expected);
        assert_eq!(
            Json.encode(&parts, &mut Message::new(max)).is_ok(),
            serde_json::to_vec(&parts).unwrap().len() <= max
        );
    });
}
