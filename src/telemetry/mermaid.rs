//! The topology as a [Mermaid](https://mermaid.js.org) flowchart, which Grafana's text panels, GitHub and many editors draw.

use std::fmt::Write as _;

use super::topology::{Node, Topology, Value};

/// Longer names are cut off in the diagram: they would be all that one sees.
const LONGEST: usize = 100;

impl Topology {
    /// As a Mermaid flowchart from left to right. Queues and channels are cylinders with their depth, breakers rhombs with their state; a dotted line is not a
    /// way of events.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for (id, node) in self.nodes.iter().enumerate() {
            let (open, close) = match node.kind.as_str() {
                "queue" | "channel" => ("[(", ")]"),
                "breaker" => ("{", "}"),
                "broadcaster" => ("([", "])"),
                _ => ("[", "]"),
            };
            let _ = writeln!(out, "    n{id}{open}\"{}\"{close}", text(node));
        }
        for edge in &self.edges {
            let arrow = if edge.aside { "-.->" } else { "-->" };
            let label = if edge.label.is_empty() { String::new() } else { format!("|\"{}\"|", escape(edge.label)) };
            let _ = writeln!(out, "    n{} {arrow}{label} n{}", edge.from, edge.to);
        }
        out
    }
}

/// What is written in a node: its kind, its name, and the values that matter at a glance.
fn text(node: &Node) -> String {
    let mut text = format!("{}<br/>{}", escape(&node.kind), escape(&node.name));
    match (node.values.get("depth"), node.values.get("capacity")) {
        (Some(Value::Count(depth)), Some(Value::Count(capacity))) => {
            let _ = write!(text, "<br/>{depth} of {capacity}");
        }
        (Some(Value::Count(depth)), _) => {
            let _ = write!(text, "<br/>depth {depth}");
        }
        _ => {}
    }
    if let Some(Value::Text(state)) = node.values.get("state") {
        let _ = write!(text, "<br/>{}", escape(state));
    }
    if node.values.get("closed") == Some(&Value::Flag(true)) {
        text.push_str("<br/>closed");
    }
    text
}

/// Everything that Mermaid, or the HTML it makes, could take for its own becomes an entity; what cannot be seen becomes a space.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        if index == LONGEST {
            out.push('…');
            break;
        }
        match c {
            c if c.is_control() => out.push(' '),
            c if c.is_alphanumeric() || " -_.,:/@()+=".contains(c) || !c.is_ascii() => out.push(c),
            c => {
                let _ = write!(out, "#{};", u32::from(c));
            }
        }
    }
    out
}
