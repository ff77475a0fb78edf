//! Nodes as a table in the shape of their tree: for results, states and plans.

use homestak_coord::documents::{ImageSourceDocument, NodeDocument, ResolvedDocument};
use homestak_protocol::event::Action;

use super::style::{Style, Tone, cut, one_line};
use super::table::{self, Cell, Column};
use super::{count, elapsed, mark, outline};

/// How nodes stand, or what became of them.
pub(crate) fn states(nodes: &[NodeDocument], room: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 9] = [
        Column::always("NODE"),
        Column::rank("TYPE", 1),
        Column::always("STATUS"),
        Column::rank("ACTION", 2),
        Column::rank("ID", 4),
        Column::rank("ADDRESS", 5),
        Column::rank("AGENT", 6),
        Column::rank("TIME", 3).right(),
        Column::rank("", 7),
    ];
    let row = |node: &NodeDocument, lead: String| -> Vec<Cell> {
        let tone = mark::tone(node.status);
        let exists = !node.status.is_gone() && node.destroyed != Some(true);
        vec![
            format!("{} {lead}{}", mark::mark(node.status, style, 0), node.name).into(),
            node.kind.as_str().into(),
            Cell::toned(node.status.as_str(), tone),
            if node.action == Action::None { Cell::default() } else { node.action.as_str().into() },
            node.vm_id.filter(|_| exists).map(|id| id.to_string()).unwrap_or_default().into(),
            node.ip.clone().filter(|_| exists).unwrap_or_default().into(),
            agent(node),
            node.duration.map(elapsed::seconds).unwrap_or_default().into(),
            remark(node),
        ]
    };
    table::lines(&COLUMNS, &rows(nodes, style, row), room, style)
}

/// What would be done to nodes.
pub(crate) fn plan(nodes: &[NodeDocument], room: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 9] = [
        Column::always("NODE"),
        Column::always("ACTION"),
        Column::rank("TYPE", 4),
        Column::rank("ID", 5),
        Column::rank("ADDRESS", 6),
        Column::rank("SIZE", 2),
        Column::rank("IMAGE", 1),
        Column::rank("SPEC", 3),
        Column::rank("", 7),
    ];
    let row = |node: &NodeDocument, lead: String| -> Vec<Cell> {
        let (mark, tone) = mark::action_mark(node.action, style);
        let known = node.known_after.as_ref().map(|path| format!("known after {path}"));
        vec![
            format!("{mark} {lead}{}", node.name).into(),
            Cell::toned(node.action.as_str(), tone),
            node.kind.as_str().into(),
            node.vm_id.map(|id| id.to_string()).unwrap_or_default().into(),
            node.ip.clone().unwrap_or_default().into(),
            node.resolved.as_ref().map(|resolved| size(resolved)).unwrap_or_default().into(),
            node.resolved.as_ref().and_then(|resolved| image(node, resolved, style)).unwrap_or_default().into(),
            node.resolved.as_ref().map(|resolved| spec(resolved)).unwrap_or_default().into(),
            node.reason.clone().or(known).unwrap_or_default().into(),
        ]
    };
    table::lines(&COLUMNS, &rows(nodes, style, row), room, style)
}

/// `debian-12 ← father local:import/debian-12.qcow2`.
fn image(node: &NodeDocument, resolved: &ResolvedDocument, style: Style) -> Option<String> {
    let name = resolved.image.as_ref()?;
    let from = match node.image_source.as_deref() {
        None => return Some(name.clone()),
        Some(ImageSourceDocument::Volume { volume, .. }) => volume.clone(),
        Some(ImageSourceDocument::Parent { host, volume }) => format!("{host} {volume}"),
        Some(ImageSourceDocument::Url { url }) => url.clone(),
        Some(ImageSourceDocument::Missing) => "nowhere".to_owned(),
    };
    Some(format!("{name} {} {from}", style.pick("←", "<-")))
}

/// `4 cores, 8192 MiB, 64 GiB`.
fn size(node: &ResolvedDocument) -> String {
    let cores = count::of(usize::try_from(node.cores).unwrap_or(usize::MAX), "core");
    format!("{cores}, {} MiB, {} GiB", node.memory, node.disk)
}

/// `base, pull`.
fn spec(node: &ResolvedDocument) -> String {
    match (&node.spec, node.mode.as_deref()) {
        (Some(spec), Some("pull")) => format!("{spec}, pull"),
        (Some(spec), _) => spec.clone(),
        (None, _) => String::new(),
    }
}

fn rows(nodes: &[NodeDocument], style: Style, row: impl Fn(&NodeDocument, String) -> Vec<Cell>) -> Vec<Vec<Cell>> {
    let places = outline::places(nodes);
    places.iter().filter_map(|place| Some(row(nodes.get(place.index)?, place.lead(style)))).collect()
}

/// What else there is to say about a node.
fn remark(node: &NodeDocument) -> Cell {
    match &node.drift {
        _ if node.destroyed == Some(true) => "destroyed again".into(),
        Some(drift) => {
            let differences = count::of(usize::try_from(drift.differences).unwrap_or(usize::MAX), "difference");
            Cell::toned(format!("drifted: {differences}"), Tone::Warn)
        }
        None => Cell::default(),
    }
}

/// What nodes wait for that are worked on, a line each: `edge waits for cloud-init for 42.0 s: VM 99012 has no address yet`.
pub(crate) fn waiting(nodes: &[NodeDocument], columns: Option<usize>, style: Style) -> Vec<String> {
    let line = |node: &NodeDocument| {
        let waiting = node.waiting.as_ref()?;
        let time = waiting.seconds.map(|seconds| format!(" for {}", elapsed::seconds(seconds))).unwrap_or_default();
        let text = waiting.text.as_deref().map(|text| format!(": {}", one_line(text))).unwrap_or_default();
        let line = format!("{} waits for {}{time}{text}", node.name, waiting.layer);
        Some(columns.map_or(line.clone(), |columns| cut(&line, columns.saturating_sub(1), style)))
    };
    nodes.iter().filter_map(line).collect()
}

fn agent(node: &NodeDocument) -> Cell {
    match (node.connected, &node.last_seen) {
        (Some(true), _) => "connected".into(),
        (Some(false), Some(seen)) => Cell::toned(format!("silent since {}", elapsed::moment(seen)), Tone::Warn),
        (Some(false), None) => Cell::toned("never seen", Tone::Warn),
        (None, _) => Cell::default(),
    }
}
