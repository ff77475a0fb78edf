//! What events add up to: how each node stands. The same fold at every level, so that an agent can say what it has, and
//! the coordinator what there is.

use homestak_protocol::event::{
    Action, Change, Event, NodeChange, NodeView, PhaseChange, PhaseStatus, PhaseView, Scope, Status,
};
use homestak_protocol::ids::Generation;
use homestak_protocol::order::NodeKind;
use homestak_protocol::path::NodePath;

/// A node of which nothing is known but its place.
pub fn unseen(path: &NodePath, kind: NodeKind, generation: Generation) -> NodeView {
    NodeView {
        path: path.clone(),
        kind,
        generation,
        status: Status::Pending,
        action: Action::None,
        vmid: None,
        ip: None,
        simulated: false,
        fault: None,
        started_ms: None,
        ended_ms: None,
        phases: Vec::new(),
    }
}

/// The node that an event is about, if it is about one.
pub(crate) fn subject(change: &Change) -> Option<&NodePath> {
    match change {
        Change::Node(node) => Some(&node.path),
        Change::Phase(phase) => Some(&phase.path),
        Change::Settled(_) | Change::Gap(_) | Change::Drift(_) => None,
    }
}

/// What is known of a node after an event. An event of an older generation than what is known changes nothing.
pub(crate) fn fold(known: Option<NodeView>, event: &Event) -> Option<NodeView> {
    let kind = match &event.change {
        Change::Node(node) => Some(node.kind),
        _ => None,
    };
    let path = subject(&event.change)?;
    let generation = event.scope.generation;
    let mut view = known.unwrap_or_else(|| unseen(path, kind.unwrap_or(NodeKind::Vm), generation));
    if generation < view.generation {
        return None;
    }
    if generation > view.generation {
        renew(&mut view, &event.scope);
    }
    match &event.change {
        Change::Node(node) => apply_node(&mut view, node, event.at_ms),
        Change::Phase(phase) => apply_phase(&mut view, phase),
        Change::Settled(_) | Change::Gap(_) | Change::Drift(_) => {}
    }
    Some(view)
}

/// How a node stands, as a change that says all of it.
pub(crate) fn change(view: &NodeView) -> NodeChange {
    NodeChange {
        path: view.path.clone(),
        kind: view.kind,
        status: view.status,
        action: Some(view.action),
        vmid: view.vmid,
        ip: view.ip,
        simulated: view.simulated,
        fault: view.fault.clone(),
    }
}

/// A new generation speaks of the node: what the last one did is history.
fn renew(view: &mut NodeView, scope: &Scope) {
    view.generation = scope.generation;
    view.action = Action::None;
    view.fault = None;
    view.started_ms = None;
    view.ended_ms = None;
    view.phases.clear();
}

fn apply_node(view: &mut NodeView, node: &NodeChange, at_ms: u64) {
    view.kind = node.kind;
    view.status = node.status;
    view.simulated |= node.simulated;
    match node.action {
        // A node that was made in this run and then configured was made, not updated.
        Some(Action::Updated) if matches!(view.action, Action::Created | Action::Adopted) => {}
        Some(action) => view.action = action,
        None => {}
    }
    view.vmid = node.vmid.or(view.vmid);
    view.ip = node.ip.or(view.ip);
    if node.fault.is_some() || !node.status.is_failure() {
        view.fault.clone_from(&node.fault);
    }
    if node.status == Status::Running {
        view.started_ms.get_or_insert(at_ms);
        view.ended_ms = None;
    } else if node.status.is_final() {
        view.ended_ms = Some(at_ms);
    }
}

fn apply_phase(view: &mut NodeView, change: &PhaseChange) {
    let known = view.phases.iter_mut().find(|phase| phase.phase == change.phase);
    let now = PhaseView {
        phase: change.phase,
        status: change.status,
        duration_ms: change.duration_ms,
        note: change.note.clone(),
    };
    match known {
        // Two levels may each say that a phase has begun.
        Some(known) if change.status == PhaseStatus::Running && known.status == PhaseStatus::Running => {}
        Some(known) => *known = now,
        None => view.phases.push(now),
    }
}
