//! Orders, words and failures: what is said to a whole tree, and what it means for each child on this level.

use homestak_protocol::event::{Action, Status};
use homestak_protocol::extras::Extras;
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
        self.unsay();
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

    /// A new generation has nothing to say of it but that it still goes.
    fn renew_end(&mut self) {
        self.state.settled = None;
        self.unsay();
        self.dirty = true;
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
    pub(crate) fn ordered(
        &mut self,
        opaque: OpaqueOrder,
        opened: (Order, Extras),
        word: Option<Verb>,
        cx: &mut Cx<'_>,
    ) {
        let order = &opened.0;
        cx.out.records.push(Record::Order(self.tree.clone(), opaque));
        self.state = TreeState { word, ..fresh(order.run, order.generation, order.policy) };
        (self.own_ask, self.asks) = Ask::of_order(opened);
        self.begin_generation(cx);
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
                self.bear(ChildState::new(ask.path.clone(), ask.kind, ask.make.is_some()));
            }
            self.with(&ask.path, cx, |_, child, cx| {
                let shut_out = child.spurned && cx.link(&ask.path).is_none();
                child.life_over |= shut_out || child.state.stage == Stage::Stuck;
                child.renew(ask.kind, cx.now_ms());
            });
        }
        self.index();
        let orphans: Vec<_> =
            self.children.values().filter(|child| child.ask.is_none()).map(|child| child.state.path.clone()).collect();
        for path in orphans {
            self.with(&path, cx, |operator, child, cx| operator.orphan(child, cx));
        }
        self.begin_own(cx);
        match self.state.word {
            None => self.drive_waiting(cx),
            Some(word) => self.heed(word, cx),
        }
    }

    /// Makes sure that a whole tree's host is there to be told something.
    pub(crate) fn know_host(&mut self, host: &NodePath, cx: &mut Cx<'_>) {
        if !self.children.contains_key(host) {
            self.bear(ChildState::new(host.clone(), NodeKind::Pve, false));
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
    pub(super) fn orphan(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let prunes = self.state.policy.prune && self.state.word.is_none();
        match child.state.goal {
            Goal::Down(_) if child.state.stage != Stage::Stuck => {
                child.state.goal = Goal::Down(Why::Prune);
                child.renew_end();
                self.drive(child, cx);
            }
            _ if prunes || child.state.incarnation.is_none() => self.begin_down(child, Why::Prune, cx),
            // What is in flight ends first.
            _ if child.op.is_some() => child.again = true,
            _ => {
                child.state.goal = Goal::Up;
                child.enter(Stage::Orphaned, cx.now_ms());
                let known = cx.scene.views.get(&child.state.path).map(|view| view.status);
                // An order that no longer names it came in the middle of its making.
                let status = known.filter(|status| status.is_final()).unwrap_or(Status::Cancelled);
                cx.node(&child.state.path, child.state.kind, status, Some(Action::Orphaned), None);
            }
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
            self.children.values_mut().for_each(Child::renew_end);
        }
        // Told once more, it says nothing new: what is on record above may be gone from here by now.
        if directive.verb == Verb::Destroy && self.state.word < Some(Verb::Destroy) {
            for recorded in &directive.recorded {
                if !cx.scene.me.carries(&recorded.path) {
                    continue;
                }
                if !self.children.contains_key(&recorded.path) {
                    self.bear(ChildState::new(recorded.path.clone(), recorded.kind, true));
                }
                self.with(&recorded.path, cx, |_, child, cx| {
                    if child.state.incarnation.is_none() {
                        // Somebody has a machine on record that we have not: it may exist.
                        child.state.incarnation = Some(Incarnation::from_bits(cx.draw()));
                        child.state.vmid = recorded.vmid;
                    }
                });
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
        if let Some(word) = self.state.word.filter(|_| self.state.word != before) {
            self.obey_child(child, word, cx);
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
        self.heed(verb, cx);
    }

    /// What the word in force means for each child.
    fn heed(&mut self, verb: Verb, cx: &mut Cx<'_>) {
        for path in self.sequence() {
            self.with(&path, cx, |operator, child, cx| operator.obey_child(child, verb, cx));
        }
    }

    fn obey_child(&mut self, child: &mut Child, verb: Verb, cx: &mut Cx<'_>) {
        match (verb, child.state.goal, child.state.stage) {
            (Verb::Destroy, ..) => self.begin_down(child, Why::Destroy, cx),
            (_, Goal::Down(_), _) => {}
            (Verb::Rollback, ..) if self.has_made(child) => self.begin_down(child, Why::Rollback, cx),
            (Verb::Cancel | Verb::Rollback, _, Stage::Provisioning) if child.op.is_some() => {
                self.give_up(child, Fault::new(Code::Cancelled, "cancelled"), cx);
            }
            // A host that has not been heard of yet: nobody there knows of this run.
            (_, _, Stage::Booting) if !child.state.ours => self.end(child, Stage::Cancelled, Status::Cancelled, cx),
            _ => self.drive(child, cx),
        }
    }

    /// Ends what has not begun.
    pub(super) fn end(&mut self, child: &mut Child, stage: Stage, status: Status, cx: &mut Cx<'_>) {
        child.enter(stage, cx.now_ms());
        if child.state.ours {
            cx.node(&child.state.path, child.state.kind, status, None, None);
        }
    }

    /// Begins with what may begin, and ends what never will.
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
