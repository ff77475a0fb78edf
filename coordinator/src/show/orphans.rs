//! Machines that no recorded tree names, a line each.

use homestak_coord::documents::{OrphanDocument, OrphansDocument};

use super::command::listed;
use super::count;
use super::style::{Style, Tone, one_line};
use super::table::{self, Cell, Column};

/// What is there, or became of it.
pub(crate) fn lines(document: &OrphansDocument, columns: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 5] = [
        Column::always("NODE"),
        Column::rank("TREE", 2),
        Column::rank("ON", 3),
        Column::always("ID"),
        Column::rank("STATE", 1),
    ];
    if document.orphans.is_empty() {
        let hosts = if document.hosts.is_empty() { "any host".to_owned() } else { document.hosts.join(", ") };
        return vec![format!("There are no orphans on {hosts}.")];
    }
    let row = |orphan: &OrphanDocument| -> Vec<Cell> {
        vec![
            orphan.path.as_str().into(),
            orphan.tree.as_str().into(),
            orphan.host.as_str().into(),
            orphan.vm_id.map(|id| id.to_string()).unwrap_or_default().into(),
            state(orphan),
        ]
    };
    let mut lines = table::lines(&COLUMNS, &document.orphans.iter().map(row).collect::<Vec<_>>(), columns, style);
    lines.extend(document.orphans.iter().filter_map(|orphan| why(orphan, style)));
    lines
}

/// Why one stays.
fn why(orphan: &OrphanDocument, style: Style) -> Option<String> {
    let error = orphan.error.as_ref()?;
    let hint = error.hint.as_deref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    let text = one_line(&format!("{}: [{}] {}{hint}", orphan.path, error.code, error.message));
    Some(style.paint(Tone::Bad, text))
}

fn state(orphan: &OrphanDocument) -> Cell {
    match (orphan.destroyed, orphan.running) {
        (Some(true), _) => Cell::toned("destroyed", Tone::Good),
        (Some(false), _) => Cell::toned("stays", Tone::Bad),
        (None, true) => "runs".into(),
        (None, false) => "does not run".into(),
    }
}

/// What else there is to say, and what to do next.
pub(crate) fn remarks(document: &OrphansDocument, next: Option<String>, columns: usize, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = document.notes.iter().map(|note| format!("note: {note}")).collect();
    if let Some(command) = next.filter(|_| !document.orphans.is_empty()) {
        let text = format!("destroy {}, after a question", count::of(document.orphans.len(), "machine"));
        lines.push(String::new());
        lines.extend(listed(&[(command, text.as_str())], columns));
    }
    lines.into_iter().map(|line| style.paint(Tone::Dim, line)).collect()
}

#[cfg(test)]
mod tests {
    use homestak_coord::documents::ErrorDocument;
    use insta::assert_snapshot;

    use super::*;

    fn orphan(name: &str, vm_id: u32) -> OrphanDocument {
        OrphanDocument {
            host: "father".into(),
            tree: "father/n2-tiered".into(),
            path: format!("father/n2-tiered/{name}"),
            vm_id: Some(vm_id),
            running: true,
            destroyed: None,
            error: None,
        }
    }

    #[test]
    fn each_orphan_is_a_line_and_so_is_what_became_of_it() {
        let mut document =
            OrphansDocument { hosts: vec!["father".into()], orphans: Vec::new(), notes: Vec::new(), error: None };
        let mut shown = lines(&document, Some(100), Style::default());
        let error = ErrorDocument {
            code: "E708".into(),
            message: "VM 99012 is managed by HA and is left alone".into(),
            hint: Some("take it out of HA first: `ha-manager remove vm:99012`".into()),
            node: None,
        };
        document.orphans = vec![
            orphan("root-pve", 99011),
            OrphanDocument { running: false, ..orphan("edge", 99013) },
            OrphanDocument { destroyed: Some(true), ..orphan("gone", 99014) },
            OrphanDocument { destroyed: Some(false), error: Some(error), ..orphan("kept", 99012) },
        ];
        shown.extend(lines(&document, Some(100), Style::default()));
        assert_snapshot!(shown.join("\n"));
    }
}
