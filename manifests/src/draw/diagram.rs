//! A manifest as the text of a diagram: `dot` of Graphviz (<https://graphviz.org/doc/info/lang.html>) and flowcharts of
//! Mermaid (<https://mermaid.js.org/syntax/flowchart.html>). Names hold nothing that either needs escaped.

use std::fmt::Write as _;

use super::details;
use crate::graph::Graph;
use crate::model::NodeKind;

/// A digraph, from parents to children. Ends with a line break.
pub fn dot(graph: &Graph<'_>) -> String {
    let name = &graph.manifest().name;
    let mut out = format!("digraph \"{name}\" {{\n  rankdir=TB;\n  node [shape=box];\n");
    for member in graph.create_order() {
        let node = member.node();
        let shape = if node.kind == NodeKind::Pve { ", shape=box3d" } else { "" };
        let label = label(&member, "\\n");
        let _ = writeln!(out, "  \"{}\" [label=\"{label}\"{shape}];", node.name);
    }
    for member in graph.create_order() {
        if let Some(parent) = member.parent() {
            let _ = writeln!(out, "  \"{}\" -> \"{}\";", parent.node().name, member.node().name);
        }
    }
    out.push_str("}\n");
    out
}

/// A flowchart, from parents to children. Ends with a line break.
pub fn mermaid(graph: &Graph<'_>) -> String {
    let mut out = String::from("flowchart TD\n");
    for member in graph.create_order() {
        // Names like `end` mean something to Mermaid, so nodes go by number.
        let _ = writeln!(out, "  n{}[\"{}\"]", member.index(), label(&member, "<br/>"));
    }
    for member in graph.create_order() {
        if let Some(parent) = member.parent() {
            let _ = writeln!(out, "  n{} --> n{}", parent.index(), member.index());
        }
    }
    out
}

fn label(member: &crate::graph::Member<'_>, line_break: &str) -> String {
    let node = member.node();
    let mut lines = vec![node.name.to_string(), node.kind.to_string()];
    lines.extend(details(member));
    lines.join(line_break)
}
