//! Orders, words and failures: what is said to a whole tree, and what it means for each child on this level.

use homestak_protocol::event::{Action, Phase, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, Incarnation, RunId};
use homestak_protocol::order::{Directive, NodeKind, OnError, OpaqueOrder, Order, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};

use super::{Ask, Child, ChildState, Cx, Goal, Operator, Stage, Why};
use crate::core::record::{Record, TreeState};
use crate::core::step::RootOrder;

impl Child {
    /// A new generation wants it up.
    fn renew(&mut self, kind: NodeKind, now_ms: u64) {
        self.state.kind = kind;
        self.state.goal = Goal::Up;
        self.state.settled = None;
        self.sent = None;
        self.told = None;
        self.drain_sent = None;
        self.drained = false;
        self.given_up_on = false;
        self.enrolling = false;
        self.dirty = true;
        // What is in flight ends first, and is then judged by what is wanted now.
        if self.op.is_none() {
            self.enter(Stage::Waiting, now_ms);
        } else {
            self.again = true;
        }
    }
}

const fn fresh(run: RunId, generation: Generation, policy: Policy) -> TreeState {
    TreeState { run, generation, policy, word: None, own: None, settled: false }
}

impl Operator {
    /// A tree that is heard of for the first time, as of before it was.
    pub(crate) fn unheard_of(tree: TreeId, run: RunId, policy: Policy) -> Self {
        Self::empty(tree, fresh(run, Generation::default(), policy))
    }

    /// Whether an order or a word of this generation may be taken.
    pub(crate) fn admits(&self, tree: &TreeId, generation: Generation) -> Result<(), Fault> {
        if generation < self.state.generation {
            return Err(Fault::new(
                Code::Stale,
                format!("generation {generation} of {tree} is older than {}, which is in force", self.state.generation),
            ));
        }
        Ok(())
    }

    /// Takes an order that is newer than what is in force.
    pub(crate) fn ordered(&mut self, opaque: OpaqueOrder, order: Order, word: Option<Verb>, cx: &mut Cx<'_>) {
        cx.out.records.push(Record::Order(self.tree.clone(), opaque));
        self.state = fresh(order.run, order.generation, order.policy);
        (self.own_ask, self.asks) = Ask::of_order(order);
        self.begin_generation(cx);
        if let Some(word) = word {
            self.obey(word, cx);
        }
        self.finish(cx);
    }

    /// Takes an order for a whole tree; its one child is the host.
    pub(crate) fn ordered_at_root(&mut self, root: RootOrder, cx: &mut Cx<'_>) {
        cx.out.records.push(Record::Order(self.tree.clone(), root.order.clone()));
        self.state = fresh(root.run, root.generation, root.policy);
        self.asks = vec![Ask::of_host(&root.tree, root.order)];
        self.begin_generation(cx);
        self.finish(cx);
    }

    fn begin_generation(&mut self, cx: &mut Cx<'_>) {
        self.dirty = true;
        for ask in self.asks.clone() {
            let known = self.children.contains_key(&ask.path);
            if !known {
                self.put(Child::new(ChildState::new(ask.path.clone(), ask.kind, ask.make.is_some())));
            }
            self.with(&ask.path, cx, |_, child, cx| child.renew(ask.kind, cx.now_ms()));
        }
        self.index();
        let orphans: Vec<_> =
            self.children.values().filter(|child| child.ask.is_none()).map(|child| child.state.path.clone()).collect();
        for path in orphans {
            self.with(&path, cx, |operator, child, cx| operator.orphan(child, cx));
        }
        self.begin_own(cx);
        self.drive_waiting(cx);
    }

    /// Makes sure that a whole tree's host is there to be told something.
    pub(crate) fn know_host(&mut self, host: &NodePath, cx: &mut Cx<'_>) {
        if !self.children.contains_key(host) {
            let mut child = Child::new(ChildState::new(host.clone(), NodeKind::Pve, false));
            child.dirty = true;
            self.put(child);
            self.with(host, cx, |_, child, cx| child.enter(Stage::Delegated, cx.now_ms()));
        }
    }

    /// Goes on from a generation that somebody else has seen.
    pub(crate) fn adopt(&mut self, generation: Generation) {
        self.state.generation = generation;
        self.state.word = None;
        self.state.settled = true;
    }

    /// A machine that is no longer named.
    fn orphan(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if self.state.policy.prune {
            self.begin_down(child, Why::Prune, cx);
        } else if child.state.goal == Goal::Up {
            child.enter(Stage::Orphaned, cx.now_ms());
            let status = cx.scene.views.get(&child.state.path).map_or(Status::Completed, |view| view.status);
            cx.node(&child.state.path, child.state.kind, status, Some(Action::Orphaned), None);
        }
    }

    /// Takes a word. The caller has checked its generation.
    pub(crate) fn directed(&mut self, directive: &Directive, cx: &mut Cx<'_>) {
        if directive.generation > self.state.generation {
            self.state.run = directive.run;
            self.state.generation = directive.generation;
            self.state.policy = directive.policy;
            self.state.word = None;
            self.state.settled = false;
            self.dirty = true;
        }
        if directive.verb == Verb::Destroy {
            for recorded in &directive.recorded {
                if self.children.contains_key(&recorded.path) || !cx.scene.me.carries(&recorded.path) {
                    continue;
                }
                // Somebody has a machine on record that we have not: it may exist.
                let mut state = ChildState::new(recorded.path.clone(), recorded.kind, true);
                state.incarnation = Some(Incarnation::from_bits(cx.draw()));
                state.vmid = recorded.vmid;
                let mut child = Child::new(state);
                child.dirty = true;
                self.put(child);
            }
        }
        self.obey(directive.verb, cx);
        self.finish(cx);
    }

    /// A failure on this level or below, and what the mode makes of it.
    pub(super) fn raise(&mut self, cx: &mut Cx<'_>) {
        if self.state.word >= Some(Verb::Cancel) {
            return;
        }
        match self.state.policy.on_error {
            OnError::Continue => {}
            OnError::Stop => self.obey(Verb::Halt, cx),
            OnError::Rollback => self.obey(Verb::Rollback, cx),
        }
    }

    /// As [`Operator::raise`], for the child that is being worked on and so is not in the map.
    pub(super) fn raise_with(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let before = self.state.word;
        self.raise(cx);
        if self.state.word != before {
            if let Some(word) = self.state.word {
                self.obey_child(child, word, cx);
            }
        }
    }

    /// A silent agent stops what has not begun. It destroys nothing.
    pub(super) fn raise_halt(&mut self, cx: &mut Cx<'_>) {
        if self.state.policy.on_error != OnError::Continue {
            self.obey(Verb::Halt, cx);
        }
    }

    fn obey(&mut self, verb: Verb, cx: &mut Cx<'_>) {
        if self.state.word >= Some(verb) {
            return;
        }
        self.state.word = Some(verb);
        self.state.settled = false;
        self.dirty = true;
        if verb >= Verb::Cancel {
            self.cancel_own(cx);
        }
        for path in self.sequence() {
            self.with(&path, cx, |operator, child, cx| operator.obey_child(child, verb, cx));
        }
    }

    fn obey_child(&mut self, child: &mut Child, verb: Verb, cx: &mut Cx<'_>) {
        let state = &child.state;
        match verb {
            Verb::Destroy => self.begin_down(child, Why::Destroy, cx),
            _ if state.goal != Goal::Up => {}
            Verb::Rollback if state.ours && state.made_in == Some(self.state.generation) => {
                self.begin_down(child, Why::Rollback, cx);
            }
            _ => match (state.stage, verb) {
                (Stage::Waiting, Verb::Cancel) => self.end(child, Stage::Cancelled, Status::Cancelled, cx),
                (Stage::Waiting, _) if state.ours => self.end(child, Stage::Skipped, Status::Skipped, cx),
                (Stage::Provisioning, Verb::Cancel) if child.op.is_some() => {
                    self.give_up(child, Fault::new(Code::Cancelled, "cancelled"), cx);
                }
                (Stage::Provisioning, Verb::Cancel) => self.cancelled(child, Phase::Provision, cx),
                (Stage::Booting, Verb::Cancel) if state.ours => {
                    let phase = if child.enrolling { Phase::Enrol } else { Phase::Boot };
                    self.cancelled(child, phase, cx);
                }
                _ => self.drive(child, cx),
            },
        }
    }

    /// Ends whatever has not begun.
    pub(super) fn end_waiting(&mut self, stage: Stage, status: Status, cx: &mut Cx<'_>) {
        for path in self.sequence() {
            self.with(&path, cx, |operator, child, cx| {
                if child.state.goal == Goal::Up && child.state.stage == Stage::Waiting && child.op.is_none() {
                    operator.end(child, stage, status, cx);
                }
            });
        }
    }

    fn end(&mut self, child: &mut Child, stage: Stage, status: Status, cx: &mut Cx<'_>) {
        child.enter(stage, cx.now_ms());
        if child.state.ours {
            cx.node(&child.state.path, child.state.kind, status, None, None);
        }
    }

    /// Begins with what may begin.
    pub(super) fn drive_waiting(&mut self, cx: &mut Cx<'_>) {
        for path in self.sequence() {
            self.with(&path, cx, |operator, child, cx| {
                if child.state.stage == Stage::Waiting {
                    operator.drive(child, cx);
                }
            });
        }
    }
}
