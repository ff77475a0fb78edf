//! A child as the operator holds it: what is remembered of it, and what is not; and what the order wants of it.

use homestak_protocol::extras::{Extras, MachineExtras};
use homestak_protocol::fault::Fault;
use homestak_protocol::order::{CloudInit, Machine, NodeKind, OpaqueOrder, Order, Own, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use super::{ChildState, Goal, Stage};
use crate::link::{KeyId, LinkId};
use crate::world::Glance;

/// What the order in force wants of a child.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) path: NodePath,
    pub(super) kind: NodeKind,
    pub(super) order: OpaqueOrder,
    /// Its machine; none for a host, which is not made.
    pub(super) make: Option<Make>,
}

/// A machine to be made.
#[derive(Debug, Clone)]
pub(super) struct Make {
    pub(super) machine: Machine,
    pub(super) cloud_init: CloudInit,
    pub(super) token: Secret,
    pub(super) extras: MachineExtras,
}

impl Ask {
    pub(super) fn of_host(tree: &TreeId, order: OpaqueOrder) -> Self {
        Self { path: NodePath::host_root(&tree.host), kind: NodeKind::Pve, order, make: None }
    }

    /// The parts of an order. A child that would lie too deep is not among them; whoever lowered the manifest has
    /// refused it long before.
    pub(super) fn of_order((order, extras): (Order, Extras)) -> (Option<Own>, Vec<Self>) {
        let (place, manifest) = (order.path, order.tree.manifest);
        let asks = order.children.into_iter().filter_map(|child| {
            Some(Self {
                path: place.child(&manifest, &child.name).ok()?,
                kind: child.machine.kind,
                order: child.order,
                make: Some(Make {
                    machine: child.machine,
                    cloud_init: child.cloud_init,
                    token: child.token,
                    extras: extras.machine(child.name.as_str()),
                }),
            })
        });
        (order.own, asks.collect())
    }
}

/// Work that has been begun for a child and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Ensure,
    Remove,
}

/// A child: what is remembered of it, and what is not.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) state: ChildState,
    /// Its place in the order; none where the order does not name it.
    pub(super) ask: Option<usize>,
    /// What has been begun.
    pub(super) op: Option<Op>,
    /// A new order came while it was in flight: begin from the start when it ends.
    pub(super) again: bool,
    /// Its result is no longer wanted, and why.
    pub(super) giving_up: Option<Fault>,
    /// How often the current step has failed.
    pub(super) attempts: u8,
    /// A retry is due later.
    pub(super) resting: bool,
    /// It wants a place.
    pub(super) queued: bool,
    /// Counts what limits and retries were armed for.
    pub(super) epoch: u64,
    /// A timer runs for its silence, or for its boot.
    pub(super) silent: bool,
    /// Counts what silence timers were armed for. One more whenever it is heard of: every silence is a whole one.
    pub(super) hearing: u64,
    /// It was silent for too long while it was to be told of its end.
    pub(super) given_up_on: bool,
    /// It is looked at now and then while its agent is waited for.
    pub(super) watched: bool,
    /// What it was last seen to wait for.
    pub(super) glance: Option<Glance>,
    /// Its agent has shown itself, and has not joined yet.
    pub(super) enrolling: bool,
    /// Its token was shown with another key than the one that is bound to it.
    pub(super) spurned: bool,
    /// Whatever is there now may be another machine than the one whose agent has joined: when it is wanted again, it is
    /// given another life, and a token that no key is bound to.
    pub(super) life_over: bool,
    /// The key that its token was bound to when its machine was last asked for.
    pub(super) bound: Option<KeyId>,
    /// The link on which its order was sent.
    pub(super) sent: Option<LinkId>,
    /// The strongest word that it was told, and the link on which.
    pub(super) told: Option<(LinkId, Verb)>,
    /// The link on which it was asked to drain.
    pub(super) drain_sent: Option<LinkId>,
    /// Everything that it had to tell has been taken over.
    pub(super) drained: bool,
    /// It is to be dropped from the record.
    pub(super) gone: bool,
    pub(super) dirty: bool,
}

impl Child {
    /// A child of which nothing is in flight. Its epochs begin where no earlier child of the same place had any.
    pub(super) fn new(state: ChildState, epoch: u64) -> Self {
        Self {
            state,
            ask: None,
            op: None,
            again: false,
            giving_up: None,
            attempts: 0,
            resting: false,
            queued: false,
            epoch,
            silent: false,
            hearing: epoch,
            given_up_on: false,
            watched: false,
            glance: None,
            enrolling: false,
            spurned: false,
            life_over: false,
            bound: None,
            sent: None,
            told: None,
            drain_sent: None,
            drained: false,
            gone: false,
            dirty: false,
        }
    }

    /// Nothing is in flight, and nothing more will be done unless something new is said.
    pub(super) fn is_closed(&self, word: Option<Verb>) -> bool {
        let state = &self.state;
        self.op.is_none()
            && (state.stage.is_end()
                || (state.goal == Goal::Up && state.stage == Stage::Delegated && state.has_settled(word)))
    }

    /// Moves on to another stage: what timers and retries were about is over.
    pub(super) fn enter(&mut self, stage: Stage, now_ms: u64) {
        self.state.stage = stage;
        self.state.began_ms = now_ms;
        self.epoch += 1;
        self.attempts = 0;
        self.resting = false;
        self.dirty = true;
        self.heard();
    }

    /// It is not silent, or its silence means nothing now.
    pub(super) fn heard(&mut self) {
        self.silent = false;
        self.hearing += 1;
    }

    /// What was said to it over a link that is gone, or in a generation that is over, is to be said again.
    pub(super) fn unsay(&mut self) {
        self.sent = None;
        self.told = None;
        self.drain_sent = None;
    }
}
