//! What an operator sees of its process while it decides, and what it has decided.

use std::collections::BTreeMap;
use std::net::IpAddr;

use homestak_protocol::event::{Action, Change, NodeChange, NodeView, Origin, Phase, PhaseChange, PhaseStatus, Status};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Generation, JournalId, Position, Seq};
use homestak_protocol::order::NodeKind;
use homestak_protocol::path::{NodePath, TreeId};

use crate::core::record::{PeerState, Record};
use crate::core::step::{Effect, Moment};
use crate::link::LinkId;

/// What an operator sees of its process while it decides.
pub(crate) struct Scene<'a> {
    /// When, and what chance it may use.
    pub(crate) now: Moment,
    /// This place.
    pub(crate) me: &'a NodePath,
    /// Whether nothing real is made here.
    pub(crate) simulated: bool,
    /// The children that are there.
    pub(crate) links: &'a BTreeMap<NodePath, Link>,
    /// The children's identities.
    pub(crate) peers: &'a BTreeMap<NodePath, PeerState>,
    /// What is known of the tree's nodes.
    pub(crate) views: &'a BTreeMap<NodePath, NodeView>,
    /// The last event seen of each origin below.
    pub(crate) marks: &'a BTreeMap<Origin, Seq>,
}

/// A child that is there.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Which connection.
    pub(crate) id: LinkId,
    /// Which journal its entries are from.
    pub(crate) journal: JournalId,
    /// The last position that it has told over this link; none before the first.
    pub(crate) told: Option<Position>,
    /// The highest generation of each tree that its agent has accepted.
    pub(crate) generations: BTreeMap<TreeId, Generation>,
    /// The newest order version that its agent reads.
    pub(crate) order_version: u16,
    /// Where it is seen from.
    pub(crate) ip: Option<IpAddr>,
}

/// What an operator has decided.
#[derive(Default)]
pub(crate) struct Decided {
    /// State changes to be told upward.
    pub(crate) changes: Vec<Change>,
    /// Records besides the operator's own and those of the changes.
    pub(crate) records: Vec<Record>,
    /// Effects.
    pub(crate) effects: Vec<Effect>,
}

/// The scene and the decisions of one step.
pub(crate) struct Cx<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) out: Decided,
    draws: u32,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(scene: Scene<'a>) -> Self {
        Self { scene, out: Decided::default(), draws: 0 }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.scene.now.wall_ms
    }

    /// Another 128 bits of the step's chance.
    pub(super) fn draw(&mut self) -> u128 {
        self.draws += 1;
        // An odd multiplier is a bijection on 128 bits, so draws of one step differ from each other.
        self.scene.now.random.rotate_left(self.draws).wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15)
    }

    pub(super) fn link(&self, path: &NodePath) -> Option<&Link> {
        self.scene.links.get(path)
    }

    /// What is wrong with a node, as of this step.
    pub(super) fn fault_of(&self, path: &NodePath) -> Option<Fault> {
        let now = self.out.changes.iter().rev().find_map(|change| match change {
            Change::Node(node) if node.path == *path => Some(node.fault.clone()),
            _ => None,
        });
        now.unwrap_or_else(|| self.scene.views.get(path)?.fault.clone())
    }

    pub(super) fn node(
        &mut self,
        path: &NodePath,
        kind: NodeKind,
        status: Status,
        action: Option<Action>,
        fault: Option<Fault>,
    ) {
        self.out.changes.push(Change::Node(NodeChange {
            path: path.clone(),
            kind,
            status,
            action,
            vmid: None,
            ip: None,
            simulated: self.scene.simulated,
            fault,
        }));
    }

    pub(super) fn phase(
        &mut self,
        path: &NodePath,
        phase: Phase,
        status: PhaseStatus,
        began_ms: u64,
        note: Option<String>,
    ) {
        let duration_ms = match status {
            PhaseStatus::Running => 0,
            _ => self.now_ms().saturating_sub(began_ms),
        };
        self.out.changes.push(Change::Phase(PhaseChange { path: path.clone(), phase, status, duration_ms, note }));
    }
}
