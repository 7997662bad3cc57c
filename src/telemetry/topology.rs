//! What is connected to what: the components of the process and the ways of events between them.
//!
//! Every queue, broadcaster, channel and breaker is in the registry, and describes itself and what it writes to, down to the leaves; so do the stages in
//! between, which are in no list. A component that is met again, on another way or round a cycle, is only connected and not described
//! again. So the walk ends, and a diamond shows once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::registry;
use crate::contain::contain;
use crate::sink::SinkId;

/// The components of the process as they are connected at one moment. See [`topology`], and [`Sink::describe`](crate::Sink::describe) for how a sink
/// of one's own appears in it.
#[derive(Debug, Default)]
pub struct Topology {
    /// In the order in which they were met: the way of the events, from the oldest component on.
    pub(super) nodes: Vec<Node>,
    pub(super) edges: BTreeSet<Edge>,
    known: HashMap<SinkId, usize>,
    /// Links to components that may not have been met yet.
    links: BTreeSet<(usize, SinkId, &'static str)>,
    /// The nodes that are being described, each inside the one before.
    path: Vec<usize>,
    label: &'static str,
}

/// A component.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) values: BTreeMap<&'static str, Value>,
}

/// A way of events, or another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Empty for events.
    pub(super) label: &'static str,
    /// Not the way of the events themselves.
    pub(super) aside: bool,
}

/// What a component says about itself: a count, a text, or whether something is so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A number.
    Count(u64),
    /// A word or a name. Never anything of an event.
    Text(String),
    /// Whether it is so.
    Flag(bool),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Reads how the components of this process are connected, with the depths of queues and channels and the states of breakers. Components that hold nothing and are
/// in no queue and no broadcaster, such as a filter that a service writes to directly, are not found.
///
/// It costs a few microseconds per component, on the calling thread; writers do not notice it.
///
/// ```
/// use sinkworks::{Queue, sink_fn};
///
/// let queue: Queue<u64> = Queue::builder(sink_fn(|_: &u64| Ok(()))).name("audit").build()?;
/// let diagram = sinkworks::telemetry::topology().to_mermaid();
/// assert!(diagram.starts_with("flowchart LR\n") && diagram.contains("audit"));
/// # Ok::<(), sinkworks::BuildError>(())
/// ```
#[must_use]
pub fn topology() -> Topology {
    let mut topology = Topology::default();
    registry::visit(|component| {
        // A sink of the user's that panics over it is left half described; the others are not.
        contain(|| component.describe(&mut topology));
        topology.path.clear();
        topology.label = "";
    });
    topology.connect();
    topology
}

impl Topology {
    /// Describes the sink that is asked: what kind it is, its name, and inside `below` the sinks that it writes to, by calling their `describe`. A sink with
    /// an `id` that is known already is connected again, and `below` is not called.
    ///
    /// Names and kinds appear on the endpoint's `/pipeline`: nothing in them may be a secret.
    pub fn stage(&mut self, id: Option<SinkId>, kind: &str, name: &str, below: impl FnOnce(&mut Self)) {
        let label = std::mem::take(&mut self.label);
        let known = id.and_then(|id| self.known.get(&id).copied());
        let node = known.unwrap_or(self.nodes.len());
        if let Some(&from) = self.path.last() {
            self.edges.insert(Edge { from, to: node, label, aside: false });
        }
        if known.is_some() {
            return;
        }
        if let Some(id) = id {
            self.known.insert(id, node);
        }
        self.nodes.push(Node { kind: kind.to_owned(), name: name.to_owned(), values: BTreeMap::new() });
        self.path.push(node);
        below(self);
        self.path.pop();
    }

    /// Describes a sink that writes to no other.
    pub fn leaf(&mut self, id: Option<SinkId>, kind: &str, name: &str) {
        self.stage(id, kind, name, |_| {});
    }

    /// Says something about the sink that is being described. The keys `id`, `kind` and `name` are taken.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(&node) = self.path.last() {
            self.nodes[node].values.insert(key, value.into());
        }
    }

    /// Connects the sink that is being described with a component that describes itself, and to which it does not write its events: a breaker, a queue
    /// of dead letters.
    pub fn link(&mut self, id: SinkId, label: &'static str) {
        if let Some(&node) = self.path.last() {
            self.links.insert((node, id, label));
        }
    }

    /// Gives the next connection that `describe` makes a label.
    pub(crate) fn labelled(&mut self, label: &'static str, describe: impl FnOnce(&mut Self)) {
        self.label = label;
        describe(self);
        self.label = "";
    }

    /// Makes edges of the links whose ends were both met. The others' components have ended.
    fn connect(&mut self) {
        for (from, id, label) in std::mem::take(&mut self.links) {
            if let Some(&to) = self.known.get(&id) {
                self.edges.insert(Edge { from, to, label, aside: true });
            }
        }
    }

    /// As JSON: `{"components": [{"id", "kind", "name", …}], "edges": [{"from", "to", "label", "events"}]}`. A queue also has `depth`, `closed` and
    /// `pool`, and `capacity` where it has one; a breaker has `state`. Ids hold for this answer only. An edge with `"events": false` is not a way of events.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn to_json(&self) -> String {
        use serde_json::{Map, json};

        let component = |(id, node): (usize, &Node)| {
            let values = node.values.iter().map(|(key, value)| {
                let value = match value {
                    Value::Count(count) => json!(count),
                    Value::Text(text) => json!(text),
                    Value::Flag(flag) => json!(flag),
                };
                ((*key).to_owned(), value)
            });
            let mut component: Map<_, _> = values.collect();
            // Last, so that nothing takes their place.
            component.extend([
                ("id".to_owned(), json!(id)),
                ("kind".to_owned(), json!(node.kind)),
                ("name".to_owned(), json!(node.name)),
            ]);
            component
        };
        let components: Vec<_> = self.nodes.iter().enumerate().map(component).collect();
        let edge = |edge: &Edge| json!({"from": edge.from, "to": edge.to, "label": edge.label, "events": !edge.aside});
        let edges: Vec<_> = self.edges.iter().map(edge).collect();
        json!({"components": components, "edges": edges}).to_string()
    }
}

/// What a type is called, without its path and its parameters: for a sink that does not describe itself.
pub(crate) fn short_type_name<T: ?Sized>() -> String {
    let whole = std::any::type_name::<T>();
    let plain = whole.split('<').next().unwrap_or_default();
    // A closure is called after the function that it is written in.
    let plain = plain.trim_end_matches("::{{closure}}").trim_start_matches('&');
    plain.rsplit("::").next().unwrap_or_default().to_owned()
}
