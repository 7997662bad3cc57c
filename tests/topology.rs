//! What an operator sees of the pipelines: as JSON and as a diagram. All tests share the process, so each looks for names of its own.
#![cfg(feature = "prometheus")]

use std::task::{Poll, Waker};
use std::time::Duration;

use serde_json::Value;
use sinkworks::telemetry::{Topology, topology};
use sinkworks::test_util::{Blocking, Gate, Recording};
use sinkworks::{
    Breaker, Broadcaster, Channel, CloseError, CloseReport, DeadLetter, Delivery, ExponentialBackoff, Failure, Filter,
    Pool, Queue, RetryingSink, Shutdown, Sink, SinkId, WriteError, sink_fn,
};

/// The topology as JSON.
struct Seen(Value);

impl Seen {
    fn now() -> Self {
        Self(serde_json::from_str(&topology().to_json()).unwrap())
    }

    fn all(&self, name: &str) -> Vec<&Value> {
        self.0["components"].as_array().unwrap().iter().filter(|component| component["name"] == name).collect()
    }

    #[track_caller]
    fn component(&self, name: &str) -> &Value {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all[0]
    }

    /// The edges out of the component: kind and name of where they lead, their label, and whether events go there.
    fn from(&self, name: &str) -> Vec<(String, String, String, bool)> {
        let id = &self.component(name)["id"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let edges = self.0["edges"].as_array().unwrap().iter().filter(|edge| edge["from"] == *id);
        let to = |edge: &Value| {
            let to = &self.0["components"][usize::try_from(edge["to"].as_u64().unwrap()).unwrap()];
            (text(&to["kind"]), text(&to["name"]), text(&edge["label"]), edge["events"].as_bool().unwrap())
        };
        edges.map(to).collect()
    }
}

fn edge(kind: &str, name: &str, label: &str, events: bool) -> (String, String, String, bool) {
    (kind.to_owned(), name.to_owned(), label.to_owned(), events)
}

/// A leaf of the user's that says nothing of itself.
struct Abyss;

impl Sink<u64> for Abyss {
    fn try_write(&self, _: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

/// A leaf that describes itself by any means.
struct Telling<F>(F);

impl<F: Fn(&mut Topology) + Send + Sync> Sink<u64> for Telling<F> {
    fn try_write(&self, _: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
    fn describe(&self, topology: &mut Topology) {
        (self.0)(topology);
    }
}

fn queue(name: &str, sink: impl Sink<u64> + 'static) -> Queue<u64> {
    Queue::builder(sink).name(name).build().unwrap()
}

#[test]
fn a_whole_pipeline_with_depths_states_and_labels() {
    let pool = Pool::dedicated("topology").unwrap();
    let breaker = Breaker::builder().name("t-breaker").threshold(1).backoff(Duration::from_secs(3600)).build().unwrap();
    let down = sink_fn(|_: &u64| Err(WriteError::Failed(Failure::transient("down"))));
    let retry = RetryingSink::named("t-retry", down, (ExponentialBackoff::default(), breaker)).unwrap();
    let letters: Queue<DeadLetter<u64>> =
        Queue::builder(sink_fn(|_: &DeadLetter<u64>| Ok(()))).name("t-letters").build().unwrap();
    let down = Queue::builder(retry).name("t-down").pool(&pool).capacity(100).dead_letters(&letters).build().unwrap();
    let (channel, _receiver) = Channel::builder().name("t-channel").capacity(5).build().unwrap();
    let broadcaster = Broadcaster::named("t-broadcaster").unwrap();
    broadcaster.add(down).unwrap();
    broadcaster.add_required(Filter::named("t-filter", channel, |_: &u64| true).unwrap()).unwrap();
    for event in 0..3 {
        broadcaster.write(&event).unwrap();
    }
    pool.wait_idle();

    let seen = Seen::now();
    assert_eq!(
        seen.from("t-broadcaster"),
        [edge("queue", "t-down", "", true), edge("filter", "t-filter", "required", true)]
    );
    assert_eq!(seen.from("t-filter"), [edge("channel", "t-channel", "", true)]);
    let below = seen.from("t-down");
    assert_eq!(below.len(), 2);
    assert!(below.contains(&edge("retry", "t-retry", "", true)));
    assert!(below.contains(&edge("queue", "t-letters", "dead letters", false)));
    assert!(seen.from("t-retry").contains(&edge("breaker", "t-breaker", "breaker", false)));
    assert!(seen.from("t-retry").iter().any(|(kind, ..)| kind == "function"), "{:?}", seen.from("t-retry"));
    let down = seen.component("t-down");
    assert_eq!((&down["depth"], &down["capacity"], &down["pool"]), (&3.into(), &100.into(), &"topology".into()));
    assert_eq!((&down["kind"], &down["closed"]), (&"queue".into(), &false.into()));
    assert_eq!(
        (&seen.component("t-channel")["depth"], &seen.component("t-channel")["capacity"]),
        (&3.into(), &5.into())
    );
    assert_eq!(seen.component("t-breaker")["state"], "open");
    let diagram = topology().to_mermaid();
    for part in ["[(\"queue<br/>t-down<br/>3 of 100\")]", "{\"breaker<br/>t-breaker<br/>open\"}", "-->|\"required\"|"] {
        assert!(diagram.contains(part), "{diagram}");
    }
}

#[test]
fn a_cycle_and_a_diamond_show_each_component_once() {
    let broadcaster = Broadcaster::named("c-broadcaster").unwrap();
    let shared = Recording::new();
    let round = queue("c-round", broadcaster.clone());
    broadcaster.add(round.clone()).unwrap();
    for name in ["c-left", "c-right"] {
        broadcaster.add(queue(name, queue("c-unused", sink_fn(|_: &u64| Ok(()))))).unwrap();
        broadcaster
            .add(queue(&format!("{name}-2"), Filter::named(name, shared.clone(), |_: &u64| true).unwrap()))
            .unwrap();
    }
    let seen = Seen::now();
    assert_eq!(seen.from("c-round"), [edge("broadcaster", "c-broadcaster", "", true)]);
    assert_eq!(seen.from("c-broadcaster").len(), 5);
    let id = |name: &str| {
        let found = seen.component(name)["id"].clone();
        seen.0["edges"].as_array().unwrap().iter().find(|edge| edge["from"] == found).unwrap()["to"].clone()
    };
    assert_eq!(id("c-left-2"), seen.all("c-left").iter().find(|c| c["kind"] == "filter").unwrap()["id"]);
    // Both filters lead to the one recording.
    let recordings = |seen: &Seen, name: &str| {
        let filter = seen.all(name).into_iter().find(|c| c["kind"] == "filter").unwrap()["id"].clone();
        seen.0["edges"].as_array().unwrap().iter().find(|edge| edge["from"] == filter).unwrap()["to"].clone()
    };
    assert_eq!(recordings(&seen, "c-left"), recordings(&seen, "c-right"));
    broadcaster.remove(&round).unwrap();
}

#[test]
fn a_sink_of_the_users_is_a_leaf_named_by_its_type_and_pointers_are_transparent() {
    let _boxed = queue("u-boxed", Box::new(std::sync::Arc::new(Abyss)));
    let _plain = queue("u-plain", Blocking::new(Gate::new(), Abyss));
    let seen = Seen::now();
    assert_eq!(seen.from("u-boxed"), [edge("sink", "Abyss", "", true)]);
    assert_eq!(seen.from("u-plain"), [edge("test", "Blocking", "", true)]);
}

#[test]
fn hostile_names_are_escaped() {
    let names = ["a\"b", "</script>", "n\new", "`md`", "#quot;", "[x]{y}(z)|", "", "é漢", &"long".repeat(2500)];
    let owned: Vec<String> = names.iter().map(|name| format!("h-{name}")).collect();
    let telling = owned.clone();
    let _queue = queue(
        "hostile \"` <b>",
        Telling(move |topology: &mut Topology| {
            for name in &telling {
                topology.stage(Some(SinkId::unique()), "k\"|\n", name, |topology| {
                    topology.set("id", "mine");
                    topology.set("state", name.as_str());
                });
            }
        }),
    );
    let seen = Seen::now();
    for name in &owned {
        assert!(seen.component(name)["id"].is_u64());
        assert_eq!(seen.component(name)["state"], name.as_str());
    }
    let node = |line: &str| {
        let (id, rest) = line.split_once(|c: char| "[({".contains(c)).unwrap();
        assert!(id.trim().strip_prefix('n').unwrap().parse::<u32>().is_ok(), "{line}");
        let text = rest.trim_start_matches(['[', '(', '{']).strip_prefix('"').unwrap();
        let text = text.trim_end_matches([']', ')', '}']).strip_suffix('"').unwrap();
        let shown = text.replace("<br/>", "");
        assert!(!shown.contains(['"', '<', '>', '`', '|', '\n', '[', '{']) && shown.chars().count() < 2000, "{line}");
    };
    let diagram = topology().to_mermaid();
    let mut lines = diagram.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    lines.filter(|line| !line.contains("->")).for_each(node);
}

#[test]
fn a_describe_that_panics_leaves_the_others_described() {
    let _bad = queue("p-bad", Telling(|_: &mut Topology| panic!("told to panic")));
    let _good = queue("p-good", Abyss);
    let seen = Seen::now();
    assert_eq!(seen.component("p-bad")["kind"], "queue");
    assert_eq!(seen.from("p-good"), [edge("sink", "Abyss", "", true)]);
}
