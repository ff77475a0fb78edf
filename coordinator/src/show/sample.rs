//! Runs to draw in tests.

use std::collections::BTreeMap;

use homestak_coord::api::{LiveNode, RunVerb, RunView};
use homestak_coord::documents::{ErrorDocument, NodeDocument, PhaseDocument, RunDocument, RunSummary};
use homestak_protocol::event::{Action, Phase, PhaseStatus, Status};
use homestak_protocol::ids::RunId;
use homestak_protocol::order::NodeKind;

/// A node that nothing has been done about.
pub(crate) fn node(path: &str) -> NodeDocument {
    let names: Vec<&str> = path.split('/').skip(2).collect();
    NodeDocument {
        name: names.last().unwrap().to_string(),
        path: path.into(),
        kind: NodeKind::Vm,
        parent: names.iter().rev().nth(1).map(ToString::to_string),
        depth: u32::try_from(names.len() - 1).unwrap(),
        status: Status::Pending,
        action: Action::None,
        vm_id: None,
        ip: None,
        duration: None,
        error: None,
        simulated: true,
        phases: Vec::new(),
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

/// Nodes that nothing has been done about.
pub(crate) fn nodes(paths: &[&str]) -> Vec<NodeDocument> {
    paths.iter().map(|path| node(path)).collect()
}

/// A node that was made.
pub(crate) fn completed(path: &str, vm_id: u32) -> NodeDocument {
    NodeDocument {
        status: Status::Completed,
        action: Action::Created,
        vm_id: Some(vm_id),
        ip: Some("127.0.12.34".into()),
        duration: Some(0.91),
        ..node(path)
    }
}

/// A node in a phase.
pub(crate) fn running(path: &str, phase: Phase) -> NodeDocument {
    let phases = vec![PhaseDocument { name: phase, status: PhaseStatus::Running, duration: 0.0, note: None }];
    NodeDocument { status: Status::Running, phases, ..node(path) }
}

/// A node that failed.
pub(crate) fn failed(path: &str) -> NodeDocument {
    let error = ErrorDocument {
        code: "E704".into(),
        message: "its agent did not join within 300 s: no packet from 192.0.2.17 reached UDP port 44443".into(),
        hint: Some("check the VLAN and the firewall between 192.0.2.17 and this host".into()),
        node: Some(path.into()),
    };
    NodeDocument { status: Status::Failed, action: Action::Created, error: Some(error), ..node(path) }
}

/// What a run is.
pub(crate) fn summary(verb: RunVerb) -> RunSummary {
    RunSummary {
        run: RunId::parse("3f9c21d04b7e").unwrap(),
        verb,
        manifest: "n2-tiered".into(),
        host: "local".into(),
        state: "running".into(),
        started_at: "2026-01-02T03:04:05.678Z".into(),
        ended_at: None,
        duration_seconds: 0.0,
        error: None,
    }
}

/// A node as it is followed.
pub(crate) fn live(node: NodeDocument) -> LiveNode {
    LiveNode::over(node)
}

/// A run as it stands.
pub(crate) fn view(nodes: Vec<(NodeDocument, Option<u64>)>) -> RunView {
    let nodes = nodes.into_iter().map(|(node, elapsed_ms)| LiveNode { elapsed_ms, ..live(node) }).collect();
    RunView { summary: summary(RunVerb::Apply), elapsed_ms: 0, nodes }
}

/// A run that is over.
pub(crate) fn document(verb: RunVerb, nodes: Vec<NodeDocument>) -> RunDocument {
    let success = !nodes.iter().any(|node| node.status.is_failure());
    RunDocument {
        verb,
        manifest: "n2-tiered".into(),
        host: "local".into(),
        run: RunId::parse("3f9c21d04b7e"),
        success,
        duration_seconds: 1.84,
        nodes,
        context: BTreeMap::new(),
        report: None,
        error: None,
    }
}
