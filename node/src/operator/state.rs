//! What an operator remembers of each child and of its own machine: the durable half of its state.

use std::net::IpAddr;

use homestak_protocol::ids::{Generation, Incarnation, Vmid};
use homestak_protocol::order::{NodeKind, Verb};
use homestak_protocol::path::NodePath;
use serde::{Deserialize, Serialize};

/// A child: a machine on this level and the agent in it; for the coordinator, a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildState {
    /// Its place.
    pub path: NodePath,
    /// What it is.
    pub kind: NodeKind,
    /// Whether its machine is ours to make and destroy. A host is not.
    pub ours: bool,
    /// What is wanted of it.
    pub goal: Goal,
    /// How far it is.
    pub stage: Stage,
    /// The life of its machine. Recorded before the machine is made, so while this is set, a machine may exist.
    pub incarnation: Option<Incarnation>,
    /// Whether the provider has said that the machine exists.
    pub exists: bool,
    /// The generation that made the machine; none where it was found. Rollback undoes only what its own run made.
    pub made_in: Option<Generation>,
    /// Whether its agent has joined in this life.
    pub joined: bool,
    /// Its machine's id on this host.
    pub vmid: Option<Vmid>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// When the current phase began, in milliseconds since 1970.
    pub began_ms: u64,
    /// Its agent has nothing more to do for this generation, having obeyed every word up to the one inside.
    pub settled: Option<Option<Verb>>,
}

impl ChildState {
    /// A child about which nothing has been done.
    pub fn new(path: NodePath, kind: NodeKind, ours: bool) -> Self {
        Self {
            path,
            kind,
            ours,
            goal: Goal::Up,
            stage: Stage::Waiting,
            incarnation: None,
            exists: false,
            made_in: None,
            joined: false,
            vmid: None,
            ip: None,
            began_ms: 0,
            settled: None,
        }
    }

    /// Whether its agent has settled after having obeyed `word`, where the word is one that undoes things.
    pub(super) fn has_settled(&self, word: Option<Verb>) -> bool {
        match (self.settled, word) {
            (None, _) => false,
            (Some(obeyed), Some(word @ (Verb::Rollback | Verb::Destroy))) => obeyed >= Some(word),
            (Some(_), _) => true,
        }
    }
}

/// What is wanted of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// It exists, and its agent has its order.
    Up,
    /// It does not exist.
    Down(Why),
}

/// Why a machine is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The tree is.
    Destroy,
    /// This run made it, and failed.
    Rollback,
    /// It is no longer named.
    Prune,
}

impl Why {
    /// The word that its agent is given first.
    pub(super) const fn verb(self) -> Verb {
        match self {
            Why::Rollback => Verb::Rollback,
            Why::Destroy | Why::Prune => Verb::Destroy,
        }
    }
}

/// How far a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Up: not begun.
    Waiting,
    /// Up: its machine is being made.
    Provisioning,
    /// Up: its machine runs, its agent has not joined.
    Booting,
    /// Up: its agent is there, its order is on the way.
    Forwarding,
    /// Up: its agent has its order and works on its own.
    Delegated,
    /// Its machine could not be made, did not come up, or its agent refused the order.
    Failed,
    /// Not begun because of another node's failure.
    Skipped,
    /// Given up on request.
    Cancelled,
    /// Its agent was silent for longer than the grace.
    Unreachable,
    /// No longer named, and kept.
    Orphaned,
    /// Down: its agent has been told, and destroys what it carries.
    Directing,
    /// Down: its agent tells what is left to tell.
    Draining,
    /// Down: its machine is being destroyed.
    Removing,
    /// Down: its machine cannot be destroyed.
    Stuck,
}

impl Stage {
    /// Whether the child takes one of the places that `parallel` gives.
    pub(super) const fn takes_a_place(self) -> bool {
        matches!(self, Stage::Provisioning | Stage::Booting | Stage::Forwarding | Stage::Removing)
    }

    /// Whether nothing more is done for a child at this stage unless something new is said.
    pub(super) const fn is_end(self) -> bool {
        matches!(
            self,
            Stage::Failed | Stage::Skipped | Stage::Cancelled | Stage::Unreachable | Stage::Orphaned | Stage::Stuck
        )
    }
}

/// What an agent does to its own machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnState {
    /// How far it is.
    pub stage: OwnStage,
    /// Whether configuring changed anything.
    pub changed: bool,
    /// When the current phase began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it began to hand its children their orders; none before and after.
    pub forwarding_ms: Option<u64>,
}

/// How far an agent's own machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnStage {
    /// It becomes a host.
    Hosting,
    /// It applies its spec.
    Configuring,
    /// It checks itself.
    Verifying,
    /// It is what it should be.
    Ready,
    /// It could not become that.
    Failed,
    /// Given up on request.
    Cancelled,
}

impl OwnStage {
    /// Whether nothing more is done.
    pub(super) const fn is_end(self) -> bool {
        matches!(self, OwnStage::Ready | OwnStage::Failed | OwnStage::Cancelled)
    }
}
