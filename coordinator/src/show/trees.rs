//! Recorded trees: one with its nodes, or a line for each.

use homestak_coord::documents::{RunSummary, StatusDocument, TreeDocument};

use super::command::{Commands, listed};
use super::style::{Style, Tone};
use super::table::{self, Cell, Column};
use super::{count, elapsed, nodes};

/// How recorded trees stand.
pub(crate) fn lines(status: &StatusDocument, columns: Option<usize>, style: Style) -> Vec<String> {
    match status {
        StatusDocument::Tree(tree) => one(tree, columns, style),
        StatusDocument::Trees { trees } if trees.is_empty() => vec!["No trees are recorded.".to_owned()],
        StatusDocument::Trees { trees } => all(trees, columns, style),
    }
}

fn one(tree: &TreeDocument, columns: Option<usize>, style: Style) -> Vec<String> {
    if !tree.recorded {
        return vec![format!("{} on {} is not recorded: there is nothing of it.", tree.manifest, tree.host)];
    }
    let simulated = if tree.nodes.iter().any(|node| node.simulated) { " (simulated)" } else { "" };
    let title = style.paint(Tone::Strong, format!("{} on {}{simulated}:", tree.manifest, tree.host));
    let run = tree.run.as_ref().map(|run| format!(", {}", last(run))).unwrap_or_default();
    let mut lines = vec![format!("{title} {}{run}", style.paint(tone(&tree.state), &tree.state)), String::new()];
    lines.extend(nodes::states(&tree.nodes, columns, style));
    let waiting = nodes::waiting(&tree.nodes, columns, style);
    if !waiting.is_empty() {
        lines.push(String::new());
        lines.extend(waiting);
    }
    lines
}

fn all(trees: &[TreeDocument], columns: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 5] = [
        Column::always("MANIFEST"),
        Column::always("HOST"),
        Column::always("STATE"),
        Column::rank("NODES", 2),
        Column::rank("LAST RUN", 1),
    ];
    let row = |tree: &TreeDocument| -> Vec<Cell> {
        let statuses = count::statuses(tree.nodes.iter().map(|node| node.status));
        vec![
            tree.manifest.as_str().into(),
            tree.host.as_str().into(),
            Cell::toned(tree.state.as_str(), tone(&tree.state)),
            format!("{}: {statuses}", tree.nodes.len()).into(),
            tree.run.as_ref().map(last).unwrap_or_default().into(),
        ]
    };
    table::lines(&COLUMNS, &trees.iter().map(row).collect::<Vec<_>>(), columns, style)
}

/// `apply 3f9c21d04b7e succeeded in 1.84 s`.
fn last(run: &RunSummary) -> String {
    let time = elapsed::seconds(run.duration_seconds);
    let preposition = if run.ended_at.is_some() { "in" } else { "for" };
    format!("{} {} {} {preposition} {time}", run.verb.as_str(), run.run, run.state)
}

/// The tone of a tree's state.
fn tone(state: &str) -> Tone {
    match state {
        "ready" => Tone::Good,
        "running" => Tone::Active,
        "unreachable" => Tone::Bad,
        "incomplete" => Tone::Warn,
        _ => Tone::Dim,
    }
}

/// What to do next.
pub(crate) fn next(status: &StatusDocument, commands: &Commands, columns: usize, style: Style) -> Vec<String> {
    let proposed = match status {
        StatusDocument::Trees { trees } if trees.is_empty() => {
            vec![(commands.line(&["manifests", "list"]), "what can be built")]
        }
        StatusDocument::Trees { .. } => vec![(commands.line(&["status", "MANIFEST"]), "the nodes of one")],
        StatusDocument::Tree(tree) if !tree.recorded => {
            vec![(commands.on_tree("apply", &tree.manifest, &tree.host), "build it")]
        }
        StatusDocument::Tree(tree) => {
            let running = tree.run.as_ref().filter(|run| run.ended_at.is_none());
            match running.map(|run| run.run.to_string()) {
                Some(id) => vec![
                    (commands.line(&["logs", &id, "--follow"]), "what happens"),
                    (commands.line(&["cancel", &id]), "cancel it"),
                ],
                None => {
                    let on = |verb| commands.on_tree(verb, &tree.manifest, &tree.host);
                    let mut proposed = vec![(on("destroy"), "take it down")];
                    if let (Some(run), true) = (&tree.run, tree.state == "incomplete") {
                        proposed.insert(0, (commands.line(&["logs", &run.run.to_string()]), "what happened"));
                        proposed.insert(1, (on("apply"), "go on from here"));
                    }
                    proposed
                }
            }
        }
    };
    std::iter::once(String::new()).chain(listed(&proposed, columns)).map(|line| style.paint(Tone::Dim, line)).collect()
}
