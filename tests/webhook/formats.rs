//! What events look like on the way, and that they are read back as they were.

use std::sync::Arc;

use sinkworks::webhook::formats::cloud_event::{Attribute, Batch, Binary, CloudEvent, Data, InvalidEvent, Structured};
use sinkworks::webhook::formats::registry::{Envelope, EnvelopeError, Event, Notifications};
use sinkworks::webhook::formats::{EncodeError, Format, Json, Malformed, Message, ParseError, mapped};
use sinkworks::webhook::{DeliveryError, Webhook};
use sinkworks::{Class, Sink};

use crate::receiver::{Posted, Receiver};
use crate::{cause, failure};

fn event() -> CloudEvent {
    CloudEvent::new("A234", "/mycontext", "com.example.someevent")
        .with_subject("Euro € 😀")
        .with_time("2018-04-05T17:31:00Z")
        .with_data_schema("https://example.com/schema")
        .with_extension("number", 5)
        .with_extension("flag", true)
        .with_extension("text", "a \"b\" 100%")
        .with_data("application/json", Data::Json(serde_json::value::to_raw_value(&[1, 2]).unwrap()))
}

/// Posts the event in the format, and answers what arrived.
fn posted<E: ?Sized, F: Format<E>>(event: &E, format: F) -> Posted {
    let receiver = Receiver::status(204);
    Webhook::builder(&receiver.url("/")).allow_loopback().format(format).build().unwrap().write(event).unwrap();
    receiver.posts().remove(0)
}

fn read_binary(post: &Posted) -> Result<CloudEvent, ParseError> {
    CloudEvent::from_binary(post.headers.iter().map(|(name, value)| (name, value)), post.body.as_bytes())
}

#[test]
fn a_cloud_event_in_structured_mode() {
    let post = posted(&event(), Structured);
    assert_eq!(post.header("content-type"), ["application/cloudevents+json"]);
    assert_eq!(
        post.body,
        concat!(
            r#"{"specversion":"1.0","id":"A234","source":"/mycontext","type":"com.example.someevent","#,
            r#""subject":"Euro € 😀","time":"2018-04-05T17:31:00Z","datacontenttype":"application/json","#,
            r#""dataschema":"https://example.com/schema","flag":true,"number":5,"text":"a \"b\" 100%","data":[1,2]}"#
        )
    );
    assert_eq!(CloudEvent::from_json(post.body.as_bytes()), Ok(event()));
    assert_eq!(serde_json::from_str::<CloudEvent>(&post.body).unwrap(), event());
}

#[test]
fn a_cloud_event_in_binary_mode() {
    let post = posted(&Arc::new(event()), Binary);
    assert_eq!(post.header("content-type"), ["application/json"]);
    assert_eq!(post.header("ce-specversion"), ["1.0"]);
    assert_eq!(post.header("ce-id"), ["A234"]);
    assert_eq!(post.header("ce-source"), ["/mycontext"]);
    assert_eq!(post.header("ce-type"), ["com.example.someevent"]);
    assert_eq!(post.header("ce-subject"), ["Euro%20%E2%82%AC%20%F0%9F%98%80"]);
    assert_eq!(post.header("ce-time"), ["2018-04-05T17:31:00Z"]);
    assert_eq!(post.header("ce-number"), ["5"]);
    assert_eq!(post.header("ce-flag"), ["true"]);
    assert_eq!(post.header("ce-text"), ["a%20%22b%22%20100%25"]);
    assert!(post.header("ce-datacontenttype").is_empty());
    assert_eq!(post.body, "[1,2]");
    // A header does not say that a value is a number.
    let texts = event().with_extension("number", "5").with_extension("flag", "true");
    assert_eq!(read_binary(&post), Ok(texts));
}

#[test]
fn a_cloud_event_in_binary_mode_has_the_media_type_of_its_data() {
    let bare = || CloudEvent::new("1", "/s", "t");
    let nothing = posted(&bare(), Binary);
    assert!(nothing.header("content-type").is_empty() && nothing.body.is_empty());
    assert_eq!(read_binary(&nothing), Ok(bare()));

    let text = bare().with_data("text/plain; charset=utf-8", Data::Text("é".to_owned()));
    let post = posted(&text, Binary);
    assert_eq!((post.header("content-type"), post.body.as_str()), (vec!["text/plain; charset=utf-8"], "é"));
    assert_eq!(read_binary(&post), Ok(text));

    let bytes = bare().with_data("application/octet-stream", Data::Binary(b"abc".to_vec()));
    let post = posted(&bytes, Binary);
    assert_eq!((post.header("content-type"), post.body.as_str()), (vec!["application/octet-stream"], "abc"));
    assert_eq!(read_binary(&post), Ok(bytes));

    // The JSON format asks for what it implies to be said.
    let implied =
        CloudEvent::from_json(br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"x"}"#).unwrap();
    assert_eq!(implied.data_content_type(), None);
    let post = posted(&implied, Binary);
    assert_eq!((post.header("content-type"), post.body.as_str()), (vec!["application/json"], "\"x\""));
}

#[test]
fn cloud_events_in_a_batch() {
    let events = [event(), CloudEvent::new("2", "/s", "t")];
    let post = posted(&events[..], Batch);
    assert_eq!(post.header("content-type"), ["application/cloudevents-batch+json"]);
    assert_eq!(CloudEvent::from_json_batch(post.body.as_bytes(), 2), Ok(events.to_vec()));
    assert_eq!(CloudEvent::from_json_batch(post.body.as_bytes(), 1), Err(ParseError::TooMany { max: 1 }));
    assert_eq!(CloudEvent::from_json_batch(b"[]", 0), Ok(Vec::new()));
    assert_eq!(CloudEvent::from_json_batch(posted(&events[0], Batch).body.as_bytes(), 9), Ok(vec![event()]));
    let invalid = format!("[{},{{}}]", serde_json::to_string(&events[1]).unwrap());
    let error = ParseError::EventAt { index: 1, error: InvalidEvent::Version };
    assert_eq!(CloudEvent::from_json_batch(invalid.as_bytes(), 9), Err(error));
    assert!(matches!(CloudEvent::from_json_batch(b"[] x", 9), Err(ParseError::Malformed(Malformed::Syntax { .. }))));
}

#[test]
fn the_specification_s_examples_are_read() {
    let read = |rest: &str| {
        let start = r#"{"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","id":"1","#;
        CloudEvent::from_json(format!("{start}{rest}}}").as_bytes())
    };
    let thrift = read(r#""comexampleextension1":"value","comexampleothervalue":5,"datacontenttype":"application/vnd.apache.thrift.binary","data_base64":"AQID""#).unwrap();
    assert_eq!(thrift.data(), Some(&Data::Binary(vec![1, 2, 3])));
    assert_eq!(thrift.extensions().last(), Some(("comexampleothervalue", &Attribute::Integer(5))));
    let xml =
        read(r#""unsetextension":null,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>""#).unwrap();
    assert_eq!(xml.data(), Some(&Data::Text("<much wow=\"xml\"/>".to_owned())));
    assert_eq!(xml.extensions().count(), 0);
    let json =
        read(r#""subject":null,"datacontenttype":"Application/Vnd.X+JSON;a=b","data":{"appinfoB":123.4500}"#).unwrap();
    let Some(Data::Json(data)) = json.data() else { panic!("{json:?}") };
    assert_eq!(data.get(), r#"{"appinfoB":123.4500}"#, "no digit is lost");
    let Some(Data::Json(null)) = read(r#""data":null"#).unwrap().data().cloned() else { panic!("not null") };
    assert_eq!(null.get(), "null");
}

#[test]
fn what_is_no_cloud_event_is_refused_with_its_reason() {
    let good = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
    let missing = |name| InvalidEvent::Missing { name };
    let value = |name| InvalidEvent::Value { name };
    let many = (0..130).map(|n| format!(",\"a{n}\":1")).collect::<Vec<_>>().concat();
    let table = [
        (InvalidEvent::Version, r#""id":"1""#.to_owned()),
        (InvalidEvent::Version, good.replace("1.0", "0.3")),
        (missing("id"), good.replace(r#""id":"1""#, r#""id":"""#)),
        (missing("id"), good.replace(r#""id":"1""#, r#""id":null"#)),
        (missing("source"), good.replace(r#""source":"/s","#, "")),
        (missing("type"), good.replace(r#","type":"t""#, "")),
        (missing("subject"), format!(r#"{good},"subject":"""#)),
        (value("id"), good.replace(r#""id":"1""#, r#""id":1"#)),
        (value("id"), good.replace(r#""id":"1""#, r#""id":"a\nb""#)),
        (value("source"), good.replace("/s", "\\u0000")),
        (value("time"), format!(r#"{good},"time":"yesterday""#)),
        (value("datacontenttype"), format!(r#"{good},"datacontenttype":"text/é""#)),
        (value("datacontenttype"), format!(r#"{good},"datacontenttype":" text/plain""#)),
        (value("an extension"), format!(r#"{good},"x":1.5"#)),
        (value("an extension"), format!(r#"{good},"x":2147483648"#)),
        (value("an extension"), format!(r#"{good},"x":[]"#)),
        (value("an extension"), format!(r#"{good},"x":"\u009f""#)),
        (value("an extension"), format!(r#"{good},"x":"\ufffe""#)),
        (InvalidEvent::Name, format!(r#"{good},"X":1"#)),
        (InvalidEvent::Name, format!(r#"{good},"my-name":1"#)),
        (InvalidEvent::Name, format!(r#"{good},"":1"#)),
        (InvalidEvent::Duplicate, format!(r#"{good},"id":"2""#)),
        (InvalidEvent::TooMany, format!("{good}{many}")),
        (InvalidEvent::Data, format!(r#"{good},"data":1,"data_base64":"AA==""#)),
        (InvalidEvent::Data, format!(r#"{good},"data_base64":"not base64""#)),
        (InvalidEvent::Data, format!(r#"{good},"data_base64":7"#)),
        (InvalidEvent::Data, format!(r#"{good},"datacontenttype":"text/plain","data":7"#)),
    ];
    for (expected, members) in table {
        assert_eq!(CloudEvent::from_json(format!("{{{members}}}").as_bytes()), Err(expected.into()), "{members}");
    }
    let malformed = |body: &[u8]| match CloudEvent::from_json(body) {
        Err(ParseError::Malformed(malformed)) => malformed,
        other => panic!("{other:?}"),
    };
    assert_eq!(malformed(b"{\"id\":\n 1x}"), Malformed::Syntax { line: 2, column: 3 });
    assert_eq!(malformed(b""), Malformed::Syntax { line: 1, column: 0 });
    assert_eq!(malformed(b"[]"), Malformed::Form { line: 1, column: 0 });
    assert_eq!(malformed(b"{\"a\":\"\xff\"}"), Malformed::Encoding);
}

#[test]
fn what_is_no_cloud_event_in_binary_mode_is_refused_with_its_reason() {
    let good = [("Ce-Specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    let read = |more: &[(&'static str, &'static str)], body: &[u8]| {
        CloudEvent::from_binary(good.iter().chain(more).map(|(name, value)| (*name, *value)), body)
    };
    assert_eq!(read(&[("x-other", "1")], b""), Ok(CloudEvent::new("1", "/s", "t")));
    assert_eq!(read(&[("ce-id", "2")], b""), Err(InvalidEvent::Duplicate.into()));
    assert_eq!(read(&[("ce-datacontenttype", "text/plain")], b""), Err(InvalidEvent::Name.into()));
    assert_eq!(read(&[("ce-my-name", "1")], b""), Err(InvalidEvent::Name.into()));
    assert_eq!(read(&[("ce-x", "%C0%A0")], b""), Err(InvalidEvent::Value { name: "an extension" }.into()));
    assert_eq!(read(&[("ce-subject", "a%0Ab")], b""), Err(InvalidEvent::Value { name: "subject" }.into()));
    assert_eq!(read(&[("ce-data", "1")], b""), Err(InvalidEvent::Name.into()));
    let malformed = read(&[("content-type", "application/json")], b"{");
    assert!(matches!(malformed, Err(ParseError::Malformed(Malformed::Syntax { .. }))), "{malformed:?}");
    assert_eq!(CloudEvent::from_binary([("a", "b")], b""), Err(InvalidEvent::Version.into()));
}

#[test]
fn an_event_that_is_not_valid_is_not_sent() {
    let receiver = Receiver::status(204);
    let bad = [
        CloudEvent::new("", "/s", "t"),
        CloudEvent::new("1", "/s\r\nx-evil: 1", "t"),
        CloudEvent::new("1", "/s", "t").with_extension("x\r\ny", "1"),
        CloudEvent::new("1", "/s", "t").with_extension("id", "1"),
        CloudEvent::new("1", "/s", "t").with_data("text/plain\r\nx-evil: 1", Data::Text("x".to_owned())),
        CloudEvent::new("1", "/s", "t").with_data("application/json", Data::Text("x".to_owned())),
    ];
    let build = || Webhook::builder(&receiver.url("/")).allow_loopback();
    let formats: [Box<dyn Format<CloudEvent>>; 3] = [Box::new(Structured), Box::new(Binary), Box::new(Batch)];
    for format in formats {
        let webhook = build().format(format).build().unwrap();
        for event in &bad {
            let failure = failure(webhook.write(event));
            assert_eq!(failure.class(), Class::Permanent);
            assert!(matches!(cause(&failure), DeliveryError::Encode(EncodeError::CloudEvent(_))), "{failure:?}");
        }
    }
    assert!(receiver.posts().is_empty());
}

#[test]
fn a_message_refuses_headers_that_are_none_or_not_its_own() {
    let mut message = Message::new(10);
    for (name, value) in [
        ("x y", "1"),
        ("", "1"),
        ("x", "1\r\nhost: evil"),
        ("x", "\0"),
        ("Content-Length", "1"),
        ("transfer-encoding", "chunked"),
        ("webhook-signature", "v1,x"),
        ("x", &"x".repeat(9_000)),
    ] {
        assert!(matches!(message.set_header(name, value), Err(EncodeError::Header)), "{name:?}");
    }
    assert_eq!(message.headers().count(), 0);
    assert!(message.set_content_type(Some("a\nb")).is_err());
    message.set_header("X-A", "1").unwrap();
    assert_eq!(message.headers().collect::<Vec<_>>(), [("x-a", &b"1"[..])]);
}

#[test]
fn a_header_of_the_builder_says_what_the_content_is() {
    let receiver = Receiver::status(204);
    let builder = Webhook::builder(&receiver.url("/")).allow_loopback();
    builder.header("Content-Type", "application/x").format(Json).build().unwrap().write(&1).unwrap();
    assert_eq!(receiver.posts()[0].header("content-type"), ["application/x"]);
}

/// As the documentation of the registry shows it.
const NOTIFICATION: &str = r#"{"events": [
    {"id": "asdf-asdf-asdf-asdf-0", "timestamp": "2006-01-02T15:04:05Z", "action": "push",
     "target": {"mediaType": "application/vnd.docker.distribution.manifest.v1+json", "length": 1,
        "digest": "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf", "repository": "library/test",
        "url": "https://example.com/v2/library/test/manifests/sha256:c3b3692957d439ac1928219a83fac91e7bf96c153725526874673ae1f2023f8d5",
        "references": [{"mediaType": "application/octet-stream", "size": 7, "digest": "sha256:00", "urls": ["https://a/"]}], "new": 1},
     "request": {"id": "asdfasdf", "addr": "client.local", "host": "registrycluster.local", "method": "PUT", "useragent": "test/0.1"},
     "actor": {"name": "test-actor"}, "source": {"addr": "hostname.local:port", "instanceID": "i-1"}},
    {"id": "asdf-asdf-asdf-asdf-1", "action": "mount", "target": {"size": 2, "fromRepository": "library/other", "tag": "3"}}
]}"#;

#[test]
fn notifications_of_a_registry() {
    let envelope = Envelope::parse(NOTIFICATION.as_bytes(), 2).unwrap();
    let [push, mount] = envelope.events.as_slice() else { panic!("{envelope:?}") };
    assert_eq!((push.action.as_str(), push.target.length), ("push", 1));
    assert_eq!((push.request.user_agent.as_str(), push.source.instance_id.as_str()), ("test/0.1", "i-1"));
    assert_eq!((mount.target.from_repository.as_str(), mount.target.tag.as_str()), ("library/other", "3"));

    let post = posted(&envelope, Notifications);
    assert_eq!(post.header("content-type"), ["application/vnd.docker.distribution.events.v1+json"]);
    assert_eq!(Envelope::parse(post.body.as_bytes(), 2), Ok(envelope.clone()));
    // The names are those of the registry.
    let mut expected: serde_json::Value = serde_json::from_str(NOTIFICATION).unwrap();
    expected["events"][0]["target"].as_object_mut().unwrap().remove("new");
    let sent: serde_json::Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(sent["events"][0], expected["events"][0]);

    let several = posted(&envelope.events[..], Notifications);
    assert_eq!(several.body, post.body);
    let one = posted(&Arc::new(push.clone()), Notifications);
    assert_eq!(Envelope::parse(one.body.as_bytes(), 1).unwrap().events, std::slice::from_ref(push));
}

#[test]
fn what_is_no_envelope_is_refused_with_its_reason() {
    let parse = |body: &str| Envelope::parse(body.as_bytes(), 2);
    assert_eq!(parse(r#"{"events":[]}"#), Ok(Envelope::default()));
    assert_eq!(parse("{}"), Err(EnvelopeError::NoEvents));
    assert_eq!(
        parse(r#"{"events":[{"id":"1","action":"a"},{"id":"1"}]}"#),
        Err(EnvelopeError::Incomplete { index: 1 })
    );
    assert_eq!(parse(r#"{"events":[{},{},{}]}"#), Err(EnvelopeError::TooMany));
    let references =
        format!(r#"{{"events":[{{"id":"1","action":"a","target":{{"references":[{}{{}}]}}}}]}}"#, "{},".repeat(1_000));
    assert_eq!(parse(&references), Err(EnvelopeError::TooMany));
    for (body, is_form) in [
        ("", false),
        ("{", false),
        ("[", true),
        ("[]", true),
        (r#"{"events":null}"#, true),
        (r#"{"events":[1]}"#, true),
        (r#"{"events":[{"id":7}]}"#, true),
        (r#"{"events":[{"target":{"size":-1}}]}"#, true),
        (r#"{"events":[]} {}"#, false),
    ] {
        match parse(body) {
            Err(EnvelopeError::Malformed(Malformed::Form { .. })) if is_form => {}
            Err(EnvelopeError::Malformed(Malformed::Syntax { .. })) if !is_form => {}
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn errors_have_nothing_of_what_was_read() {
    let secret = r#"{"specversion":"1.0","id":"secret\u0000","source":"secret","type":"secret","secret":"secret"}"#;
    let errors = [
        format!("{:?}", CloudEvent::from_json(secret.as_bytes()).unwrap_err()),
        format!("{}", CloudEvent::from_json(b"\"secret\"").unwrap_err()),
        format!("{}", Envelope::parse(br#"{"events":["secret"]}"#, 1).unwrap_err()),
        format!("{:?}", Event { target: serde_json::from_str(r#"{"url":"secret"}"#).unwrap(), ..Event::default() }),
        format!("{:?}", CloudEvent::new("1", "/s", "t").with_data("text/plain", Data::Text("secret".to_owned()))),
    ];
    assert!(!errors.iter().any(|error| error.contains("secret")), "{errors:?}");
}

#[test]
fn an_event_of_another_type_is_mapped() {
    let format =
        mapped(|number: &u32| Ok(CloudEvent::new(number.to_string(), "/n", "number").with_json(number)?), Structured);
    let event = CloudEvent::from_json(posted(&7, format).body.as_bytes()).unwrap();
    assert_eq!((event.id(), event.data_content_type()), ("7", Some("application/json")));
}
