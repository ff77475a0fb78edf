//! The question before something is destroyed. Anything but a yes means no, and so does the end of the input.

use std::io::{self, BufRead, IsTerminal as _};

use homestak_coord::documents::{NodeDocument, OrphanDocument};

use super::count;
use super::style::{Style, Tone, cut};

/// The question.
const QUESTION: &str = "Continue? [y/N] ";

/// What is asked about.
pub(crate) fn warning(manifest: &str, host: &str, nodes: &[NodeDocument], columns: usize, style: Style) -> Vec<String> {
    let title = format!("WARNING: This will destroy all nodes in manifest '{manifest}'.");
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let listed = format!("{}: {}", count::of(names.len(), "node"), names.join(", "));
    vec![
        style.paint(Tone::Bad, title),
        format!("Target host: {host}"),
        cut(&listed, columns.saturating_sub(1), style),
        "This action cannot be undone.".to_owned(),
        QUESTION.to_owned(),
    ]
}

/// The same about machines that no tree names.
pub(crate) fn about_orphans(orphans: &[OrphanDocument], columns: usize, style: Style) -> Vec<String> {
    let title = format!("WARNING: This will destroy {}.", count::of(orphans.len(), "machine"));
    let each = orphans.iter().map(|orphan| {
        let id = orphan.vm_id.map(|id| format!(", id {id}")).unwrap_or_default();
        cut(&format!("  {} on {}{id}", orphan.path, orphan.host), columns.saturating_sub(1), style)
    });
    let end = ["This action cannot be undone.".to_owned(), QUESTION.to_owned()];
    std::iter::once(style.paint(Tone::Bad, title)).chain(each).chain(end).collect()
}

/// Whether the person at the terminal agrees; no where there is none.
pub(crate) fn agreed() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && read(&mut stdin.lock())
}

fn read(input: &mut impl BufRead) -> bool {
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;
    use insta::assert_snapshot;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in
            [("y\n", true), ("YES\n", true), (" y ", true), ("\n", false), ("", false), ("yay\n", false)]
        {
            assert_eq!(read(&mut answer.as_bytes()), yes, "{answer:?}");
        }
    }

    #[test]
    fn the_question_names_what_is_destroyed() {
        let nodes = sample::nodes(&["father/n2-tiered/root-pve", "father/n2-tiered/root-pve/edge"]);
        assert_snapshot!(warning("n2-tiered", "father", &nodes, 80, Style::default()).join("\n"));
    }
}
