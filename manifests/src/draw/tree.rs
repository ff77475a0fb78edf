//! A manifest as a tree of lines for a terminal.

use std::fmt::Write as _;

use super::details;
use crate::graph::{Graph, Member};

/// The width that lines keep to, if need be by leaving out details: that of the narrowest terminal in use. Names stay.
const WIDTH: usize = 80;

/// What the branches are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lines {
    /// Box-drawing characters.
    #[default]
    Unicode,
    /// For terminals and files that have none.
    Ascii,
}

impl Lines {
    /// Branch to one of several, branch to the last, and what goes below the one and the other.
    const fn strokes(self) -> [&'static str; 4] {
        match self {
            Lines::Unicode => ["├─ ", "└─ ", "│  ", "   "],
            Lines::Ascii => ["|- ", "`- ", "|  ", "   "],
        }
    }
}

/// The manifest's name and description, and below it a line for each node. Ends with a line break.
pub fn tree(graph: &Graph<'_>, lines: Lines) -> String {
    let [branch, last_branch, trunk, space] = lines.strokes();
    let manifest = graph.manifest();
    let mut out = manifest.name.to_string();
    if let Some(description) = manifest.description.as_deref().and_then(|text| text.lines().next()) {
        let shown: String = description.chars().filter(|c| !c.is_control()).collect();
        add(&mut out, manifest.name.as_str().len(), "  ", [shown]);
    }
    out.push('\n');
    // What is still to be drawn, next one last: the node, what stands in front of it, and whether it is its parent's last.
    let mut open: Vec<(Member<'_>, String, bool)> = Vec::new();
    push(&mut open, graph.roots().collect(), "");
    while let Some((member, indent, last)) = open.pop() {
        let node = member.node();
        let line = format!("{indent}{}{}  {}", if last { last_branch } else { branch }, node.name, node.kind);
        out.push_str(&line);
        add(&mut out, line.chars().count(), "  ", details(&member));
        out.push('\n');
        push(&mut open, member.children().collect(), &format!("{indent}{}", if last { space } else { trunk }));
    }
    out
}

fn push<'g>(open: &mut Vec<(Member<'g>, String, bool)>, siblings: Vec<Member<'g>>, indent: &str) {
    let last = siblings.len().saturating_sub(1);
    open.extend(siblings.into_iter().enumerate().rev().map(|(i, member)| (member, indent.to_owned(), i == last)));
}

/// Appends as many of the parts as the line has room for.
fn add(out: &mut String, mut width: usize, gap: &str, parts: impl IntoIterator<Item = String>) {
    for part in parts {
        width += gap.len() + part.chars().count();
        if width > WIDTH {
            return;
        }
        let _ = write!(out, "{gap}{part}");
    }
}
