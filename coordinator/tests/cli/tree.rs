//! A small tree, as a daemon tells of it.

use homestak_coord::api::{Answer, LiveNode, RunVerb, RunView};
use homestak_coord::documents::{ErrorDocument, NodeDocument, PhaseDocument, PlanDocument, RunDocument, RunSummary};
use homestak_protocol::event::{Action, Phase, PhaseStatus, Status};
use homestak_protocol::ids::RunId;
use homestak_protocol::order::NodeKind;

/// The run.
pub(crate) const RUN: &str = "3f9c21d04b7e";

const ROOT: &str = "local/n2-tiered/root-pve";
const EDGE: &str = "local/n2-tiered/root-pve/edge";

pub(crate) fn summary(verb: RunVerb, state: &str) -> RunSummary {
    let over = state != "running";
    RunSummary {
        run: RunId::parse(RUN).unwrap(),
        verb,
        manifest: "n2-tiered".into(),
        host: "local".into(),
        state: state.into(),
        started_at: "2026-01-02T03:04:05.678Z".into(),
        ended_at: over.then(|| "2026-01-02T03:04:07.518Z".into()),
        duration_seconds: 1.84,
        error: None,
    }
}

pub(crate) fn node(path: &str, status: Status, phase: Option<Phase>) -> NodeDocument {
    let made = matches!(status, Status::Completed);
    let phases = phase.map(|name| PhaseDocument { name, status: PhaseStatus::Running, duration: 0.0, note: None });
    NodeDocument {
        name: path.rsplit('/').next().unwrap().into(),
        path: path.into(),
        kind: if path == ROOT { NodeKind::Pve } else { NodeKind::Vm },
        parent: (path == EDGE).then(|| "root-pve".into()),
        depth: u32::from(path == EDGE),
        status,
        action: if made { Action::Created } else { Action::None },
        vm_id: made.then_some(if path == ROOT { 99011 } else { 99021 }),
        ip: made.then(|| if path == ROOT { "127.0.1.2".into() } else { "127.0.1.3".into() }),
        duration: made.then_some(0.91),
        error: None,
        simulated: true,
        phases: phases.into_iter().collect(),
        destroyed: None,
        known_after: None,
        reason: None,
        connected: None,
        last_seen: None,
        waiting: None,
        image_source: None,
        drift: None,
        resolved: None,
    }
}

fn live(node: NodeDocument) -> LiveNode {
    LiveNode { elapsed_ms: (node.status != Status::Pending).then_some(100), ..LiveNode::over(node) }
}

pub(crate) fn started(verb: RunVerb) -> Answer {
    let nodes = [ROOT, EDGE].map(|path| live(node(path, Status::Pending, None))).into();
    Answer::Started(RunView { summary: summary(verb, "running"), elapsed_ms: 5, nodes })
}

/// What happens until all is well.
pub(crate) fn steps() -> Vec<Answer> {
    let step = |path, status, phase| Answer::Node(Box::new(live(node(path, status, phase))));
    vec![
        step(ROOT, Status::Running, Some(Phase::Provision)),
        step(ROOT, Status::Running, Some(Phase::Boot)),
        step(ROOT, Status::Completed, None),
        step(EDGE, Status::Running, Some(Phase::Provision)),
        step(EDGE, Status::Completed, None),
    ]
}

pub(crate) fn finished(verb: RunVerb) -> RunDocument {
    let nodes = vec![node(ROOT, Status::Completed, None), node(EDGE, Status::Completed, None)];
    RunDocument {
        verb,
        manifest: "n2-tiered".into(),
        host: "local".into(),
        run: RunId::parse(RUN),
        success: true,
        duration_seconds: 1.84,
        context: RunDocument::context_of(&nodes),
        nodes,
        report: None,
        error: None,
    }
}

/// The same with a leaf that could not be made, or a run that was cancelled.
pub(crate) fn unfinished(verb: RunVerb, code: &str, status: Status) -> RunDocument {
    let error = ErrorDocument {
        code: code.into(),
        message: "its agent did not join within 300 s".into(),
        hint: Some("check the firewall of the host".into()),
        node: Some(EDGE.into()),
    };
    let edge = NodeDocument { error: Some(error.clone()), ..node(EDGE, status, None) };
    let nodes = vec![node(ROOT, Status::Completed, None), edge];
    RunDocument {
        success: false,
        context: RunDocument::context_of(&nodes),
        nodes,
        error: Some(error),
        ..finished(verb)
    }
}

pub(crate) fn plan(plans: RunVerb, action: Action, recorded: bool) -> PlanDocument {
    let nodes = if recorded { vec![ROOT, EDGE] } else { Vec::new() };
    let nodes: Vec<_> =
        nodes.into_iter().map(|path| NodeDocument { action, ..node(path, Status::Pending, None) }).collect();
    PlanDocument {
        verb: "plan".into(),
        plans,
        manifest: "n2-tiered".into(),
        host: "local".into(),
        changes: if action == Action::Unchanged { 0 } else { u32::try_from(nodes.len()).unwrap() },
        nodes,
        notes: Vec::new(),
        error: None,
    }
}
