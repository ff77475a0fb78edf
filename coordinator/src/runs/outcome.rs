//! What a run came to: nodes as documents, whether that is a success, and why not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use homestak_protocol::event::{Action, NodeView, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::path::NodePath;

use super::clock::seconds;
use crate::api::RunVerb;
use crate::documents::{ErrorDocument, NodeDocument, PhaseDocument, RunDocument};
use crate::store::{GivenUp, RunRow, TreeRow};

/// A node, as programs read it.
pub(crate) fn document(view: &NodeView) -> NodeDocument {
    let ended = |start: u64| view.ended_ms.map(|end| seconds(end.saturating_sub(start)));
    let phase = |phase: &homestak_protocol::event::PhaseView| PhaseDocument {
        name: phase.phase,
        status: phase.status,
        duration: seconds(phase.duration_ms),
        note: phase.note.clone(),
    };
    NodeDocument {
        name: view.path.name().into(),
        path: view.path.as_str().into(),
        kind: view.kind,
        parent: view.path.parent().filter(|parent| !parent.is_host()).map(|parent| parent.name().into()),
        depth: u32::try_from(view.path.depth()).unwrap_or(u32::MAX).saturating_sub(1),
        status: view.status,
        action: view.action,
        vm_id: view.vmid.map(|id| id.number()),
        ip: view.ip.map(|ip| ip.to_string()),
        duration: view.started_ms.and_then(ended),
        error: view.fault.as_ref().map(ErrorDocument::from),
        simulated: view.simulated,
        phases: view.phases.iter().map(phase).collect(),
        destroyed: None,
        known_after: None,
        reason: None,
        waiting: None,
        image_source: None,
        connected: None,
        last_seen: None,
        drift: None,
        resolved: None,
    }
}

/// Nodes in creation order; what no order of ours named comes last, by level.
pub(crate) fn arrange(tree: Option<&TreeRow>, mut views: Vec<NodeView>) -> Vec<NodeView> {
    let places: BTreeMap<&NodePath, usize> =
        tree.iter().flat_map(|tree| &tree.nodes).enumerate().map(|(place, node)| (&node.path, place)).collect();
    views.sort_by_cached_key(|view| {
        (places.get(&view.path).copied().unwrap_or(usize::MAX), view.path.depth(), view.path.clone())
    });
    views
}

/// The nodes that a run of this generation is about: what is gone since before it is history.
pub(crate) fn relevant(row: &RunRow, views: Vec<NodeView>) -> Vec<NodeView> {
    views.into_iter().filter(|view| !view.status.is_gone() || view.generation >= row.generation).collect()
}

/// Why the nodes are not as this verb wants them; none where they are. `views` are arranged.
pub(crate) fn failure(
    row: &RunRow,
    stage_up: bool,
    tree: Option<&TreeRow>,
    views: &[NodeView],
) -> Option<ErrorDocument> {
    let orphans: BTreeSet<&NodePath> =
        tree.iter().flat_map(|tree| &tree.nodes).filter(|node| node.orphaned).map(|node| &node.path).collect();
    let as_wanted = |view: &&NodeView| match (stage_up, orphans.contains(&view.path)) {
        (false, _) => view.status.is_gone(),
        (true, true) => view.status.is_gone() || !row.request.prune,
        (true, false) => view.status == Status::Completed,
    };
    let wrong: Vec<&NodeView> = views.iter().filter(|view| !as_wanted(view)).collect();
    let first = wrong.first()?;
    match row.given_up {
        Some(GivenUp::Asked) => return Some(error(&Fault::new(Code::Cancelled, "the run was cancelled"))),
        Some(GivenUp::OutOfTime) => return Some(out_of_time(row)),
        None => {}
    }
    let with = |status: Status| wrong.iter().copied().find(|view| view.status == status && view.fault.is_some());
    let telling = [Status::Failed, Status::RolledBack, Status::Unreachable].into_iter().find_map(with);
    let telling = telling.or_else(|| wrong.iter().copied().find(|view| view.fault.is_some())).unwrap_or(first);
    Some(match &telling.fault {
        Some(fault) => error(&if fault.node.is_some() { fault.clone() } else { fault.clone().at(&telling.path) }),
        None => {
            let text = format!("{} is {}", telling.path.name(), telling.status);
            error(&Fault::new(Code::Provision, text).at(&telling.path))
        }
    })
}

/// The error of a run whose time was over.
pub(crate) fn out_of_time(row: &RunRow) -> ErrorDocument {
    let limit = seconds(row.request.timeout_ms.unwrap_or_default());
    let fault = Fault::new(Code::Timeout, format!("the run took longer than the {limit} s that it was given"))
        .hint("give it more with --timeout; what exists is left as it is");
    error(&fault)
}

fn error(fault: &Fault) -> ErrorDocument {
    ErrorDocument::from(fault)
}

/// The document of a run that is over.
pub(crate) fn run_document(row: &RunRow, nodes: Vec<NodeDocument>, error: Option<ErrorDocument>) -> RunDocument {
    RunDocument {
        verb: row.verb,
        manifest: row.manifest.to_string(),
        host: row.host.to_string(),
        run: Some(row.id),
        success: error.is_none(),
        duration_seconds: seconds(row.ended_ms.unwrap_or(row.started_ms).saturating_sub(row.started_ms)),
        context: RunDocument::context_of(&nodes),
        nodes,
        report: None,
        error,
    }
}

/// Whether everything that a test has is of its own making, so that destroying the tree destroys nothing else.
pub(crate) fn all_made(views: &[NodeView]) -> bool {
    views.iter().all(|view| view.status.is_gone() || matches!(view.action, Action::Created | Action::None))
}

/// The nodes of a test, as they were verified, marked with whether they are gone.
pub(crate) fn mark_destroyed(mut verified: Vec<NodeDocument>, left: &[NodeView]) -> Vec<NodeDocument> {
    let gone: BTreeMap<&str, bool> = left.iter().map(|view| (view.path.as_str(), view.status.is_gone())).collect();
    for node in &mut verified {
        node.destroyed = Some(gone.get(node.path.as_str()).copied().unwrap_or(true));
    }
    verified
}

/// How a verb is told, in a sentence.
pub(crate) const fn doing(verb: RunVerb) -> &'static str {
    match verb {
        RunVerb::Apply => "an apply",
        RunVerb::Destroy => "a destroy",
        RunVerb::Test => "a test",
    }
}
