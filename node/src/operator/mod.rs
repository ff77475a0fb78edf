//! The operator: what happens to one tree on one level, decided without doing any of it.
//!
//! It takes what happened (an order or a word from above, work that ended, a child that joined or left or told something,
//! a timer) and answers with what to remember, what to tell and what to begin. It is driven by levels, not by edges: after
//! every input each child that could move is looked at and taken one step from where it is to where it should be. So a
//! restart is nothing special: what was in flight is begun again, which every effect allows.
//!
//! - `state`, `child`: what is remembered of each child, and what is not. - `scene`: what is seen and decided in a step.
//! - `up`: making machines and handing on orders. - `down`: destroying them. - `own`: this machine itself.
//! - `word`: orders, words and failures, and what they mean for everybody.

mod child;
mod down;
mod own;
mod scene;
mod state;
mod up;
mod word;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use homestak_protocol::event::{Action, Change, Event, NodeChange, NodeView, Phase, PhaseStatus, Settled, Status};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Generation, Incarnation, Vmid};
use homestak_protocol::message::{Reply, Request};
use homestak_protocol::order::{Directive, Millis, OpaqueOrder, OrderError, Own, Recorded, Verb};
use homestak_protocol::path::{NodePath, TreeId};

use self::child::{Ask, Child, Op};
pub(crate) use self::scene::{Cx, Link, Scene};
pub use self::state::{ChildState, Goal, OwnStage, OwnState, Stage, Why};
use crate::core::record::{Record, TreeImage, TreeState};
use crate::core::step::{Effect, Sent, TimerKey, TimerKind, Who, Work, Worked};
use crate::link::LinkId;
use crate::world::Glance;

/// The first pause before a retry; each further one is twice as long.
const RETRY_BASE_MS: u64 = 200;
/// The longest pause between retries: long enough for a lock to be freed, short enough to be noticed when it is.
const RETRY_MAX_MS: u64 = 10_000;

/// One tree on one level.
#[derive(Clone)]
pub(crate) struct Operator {
    tree: TreeId,
    state: TreeState,
    /// What the order in force wants of this machine.
    own_ask: Option<Own>,
    /// What it wants of each child, in its sequence.
    asks: Vec<Ask>,
    children: BTreeMap<NodePath, Child>,
    /// Children that want a place, in order.
    queue: VecDeque<NodePath>,
    /// How many children take a place.
    busy: usize,
    /// Children that are not closed.
    open: BTreeSet<NodePath>,
    own: own::Progress,
    /// How many children there ever were.
    born: u64,
    dirty: bool,
}

impl Operator {
    /// A tree of which nothing is known yet but that it was spoken of.
    fn empty(tree: TreeId, state: TreeState) -> Self {
        Self {
            tree,
            state,
            own_ask: None,
            asks: Vec::new(),
            children: BTreeMap::new(),
            queue: VecDeque::new(),
            busy: 0,
            open: BTreeSet::new(),
            own: own::Progress::default(),
            born: 0,
            dirty: true,
        }
    }

    /// What was remembered. Nothing is begun before [`Operator::resume`].
    pub(crate) fn restore(me: &NodePath, tree: TreeId, image: TreeImage) -> Result<Option<Self>, OrderError> {
        let Some(state) = image.state else { return Ok(None) };
        let mut operator = Self::empty(tree, state);
        operator.dirty = false;
        match image.order {
            Some(order) if me.is_coordinator() => operator.asks = vec![Ask::of_host(&operator.tree, order)],
            Some(order) => (operator.own_ask, operator.asks) = Ask::of_order(order.open_with()?),
            None => {}
        }
        for state in image.children.into_values() {
            operator.bear(state);
        }
        operator.index();
        Ok(Some(operator))
    }

    /// Begins again whatever was in flight.
    pub(crate) fn resume(&mut self, cx: &mut Cx<'_>) {
        self.drive_own(cx);
        for path in self.sequence() {
            self.with(&path, cx, |operator, child, cx| operator.drive(child, cx));
        }
        self.finish(cx);
    }

    pub(crate) fn generation(&self) -> Generation {
        self.state.generation
    }

    pub(crate) fn state(&self) -> &TreeState {
        &self.state
    }

    /// Whether a child of this place is on record here.
    pub(crate) fn has_child(&self, path: &NodePath) -> bool {
        self.children.contains_key(path)
    }

    /// The order of the machine at this place, unopened; none for a host.
    pub(crate) fn order_of(&self, path: &NodePath) -> Option<&OpaqueOrder> {
        self.asks.iter().find(|ask| ask.path == *path && ask.make.is_some()).map(|ask| &ask.order)
    }

    /// The lives of the machines on this level.
    pub(crate) fn lives(&self) -> BTreeMap<NodePath, Incarnation> {
        let life = |child: &Child| Some((child.state.path.clone(), child.state.incarnation?));
        self.children.values().filter_map(life).collect()
    }

    /// Takes the host of a whole tree off the record, if it has said its last word; false where something else is left. After
    /// a destroy it is off already, after a rollback it waits for more to be said.
    pub(crate) fn bare(&mut self, records: &mut Vec<Record>) -> bool {
        let word = self.state.word;
        if !self.children.values().all(|child| !child.state.ours && child.state.has_settled(word)) {
            return false;
        }
        for path in std::mem::take(&mut self.children).into_keys() {
            self.open.remove(&path);
            records.push(Record::ChildGone(self.tree.clone(), path));
        }
        true
    }

    /// Whether the one child of a whole tree, its host, has been silent for too long.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.children.values().any(|child| !child.state.ours && child.state.stage == Stage::Unreachable)
    }

    /// A child has shown its token.
    pub(crate) fn child_enrolled(&mut self, path: &NodePath, cx: &mut Cx<'_>) {
        self.with(path, cx, |_, child, cx| {
            if child.state.stage == Stage::Booting && !child.enrolling {
                child.enrolling = true;
                let began = child.state.began_ms;
                cx.phase(&child.state.path, Phase::Boot, PhaseStatus::Passed, began, None);
                cx.phase(&child.state.path, Phase::Enrol, PhaseStatus::Running, 0, None);
                child.state.began_ms = cx.now_ms();
                child.dirty = true;
            }
        });
        self.finish(cx);
    }

    /// Somebody has shown a child's token, with another key than the one that it is bound to.
    pub(crate) fn child_spurned(&mut self, path: &NodePath, cx: &mut Cx<'_>) {
        self.with(path, cx, |_, child, _| child.spurned = true);
    }

    /// What a child waits for whose agent has not joined. Its address is known by whichever comes first.
    pub(crate) fn child_glimpsed(&mut self, path: &NodePath, glance: Glance, cx: &mut Cx<'_>) {
        self.with(path, cx, |operator, child, cx| {
            if child.watched && child.state.stage == Stage::Booting {
                if child.state.ip.is_none() && glance.ip.is_some() {
                    child.state.ip = glance.ip;
                    child.dirty = true;
                    operator.node_made(child, None, cx);
                }
                child.glance = Some(glance);
            }
        });
        self.finish(cx);
    }

    /// A child's agent is there.
    pub(crate) fn child_joined(&mut self, path: &NodePath, cx: &mut Cx<'_>) {
        self.with(path, cx, |operator, child, cx| {
            child.heard();
            child.unsay();
            child.given_up_on = false;
            child.spurned = false;
            if !child.state.joined {
                child.state.joined = true;
                child.dirty = true;
            }
            operator.drive(child, cx);
        });
        self.finish(cx);
    }

    /// A child's link is gone.
    pub(crate) fn child_left(&mut self, path: &NodePath, cx: &mut Cx<'_>) {
        self.with(path, cx, |operator, child, cx| {
            child.unsay();
            operator.drive(child, cx);
        });
        self.finish(cx);
    }

    /// Something that a child told, of itself or of what is below it. It is on its way up already.
    pub(crate) fn child_told(&mut self, path: &NodePath, event: &Event, cx: &mut Cx<'_>) {
        if event.scope.generation != self.state.generation || event.scope.run != self.state.run {
            return;
        }
        if event.origin.path == *path {
            self.with(path, cx, |operator, child, cx| operator.heard_from(child, cx));
        }
        match &event.change {
            Change::Settled(Settled { path: settled, word }) if settled == path => {
                let word = *word;
                self.with(path, cx, |operator, child, cx| {
                    child.state.settled = Some(word);
                    child.dirty = true;
                    operator.drive(child, cx);
                });
            }
            Change::Node(node) if node.status == Status::Failed => self.raise(cx),
            _ => {}
        }
        self.finish(cx);
    }

    /// A request to a child was answered, or its link was lost first.
    pub(crate) fn answered(
        &mut self,
        path: &NodePath,
        link: LinkId,
        sent: &Sent,
        reply: Option<Reply>,
        cx: &mut Cx<'_>,
    ) {
        self.with(path, cx, |operator, child, cx| match (sent, reply) {
            (_, None) => {}
            (Sent::Word(_, generation, verb), Some(Reply::Refused(fault)))
                if *generation == operator.state.generation && child.told == Some((link, *verb)) =>
            {
                operator.word_refused(child, fault, cx);
            }
            (Sent::Order(_, generation), Some(reply)) if *generation == operator.state.generation => {
                operator.order_answered(child, link, reply, cx);
            }
            (Sent::Drain(_), Some(Reply::Done)) if child.drain_sent == Some(link) => {
                child.drained = true;
                operator.drive(child, cx);
            }
            _ => {}
        });
        self.finish(cx);
    }

    /// Work has ended.
    pub(crate) fn worked(&mut self, who: &Who, result: Result<Worked, Fault>, cx: &mut Cx<'_>) {
        match who {
            Who::Own => self.own_worked(result, cx),
            Who::Child(path) => self.with(path, cx, |operator, child, cx| match child.op.take() {
                Some(Op::Ensure) => operator.ensured(child, result, cx),
                Some(Op::Remove) => operator.removed(child, result.map(|_| ()), cx),
                None => {}
            }),
        }
        self.finish(cx);
    }

    /// A timer has run out.
    pub(crate) fn timer(&mut self, key: &TimerKey, cx: &mut Cx<'_>) {
        match &key.who {
            Who::Own => self.own_timer(key, cx),
            Who::Child(path) => self.with(path, cx, |operator, child, cx| {
                let epoch = if key.kind == TimerKind::Silence { child.hearing } else { child.epoch };
                if epoch == key.epoch {
                    match key.kind {
                        TimerKind::Retry => {
                            child.resting = false;
                            operator.drive(child, cx);
                        }
                        TimerKind::Limit => operator.out_of_time(child, cx),
                        TimerKind::Silence => operator.out_of_hearing(child, cx),
                    }
                }
            }),
        }
        self.finish(cx);
    }

    /// Takes a child one step from where it is to where it should be.
    fn drive(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        match child.state.goal {
            Goal::Up => self.drive_up(child, cx),
            Goal::Down(why) => self.drive_down(child, why, cx),
        }
    }

    /// Whether a machine may be begun with now; if not, the child is called again when one may.
    fn place(&mut self, child: &mut Child) -> bool {
        if child.state.stage.takes_a_place() || self.busy < usize::from(self.state.policy.parallel.max(1)) {
            return true;
        }
        if !child.queued {
            child.queued = true;
            self.queue.push_back(child.state.path.clone());
        }
        false
    }

    /// After every input: gives free places away, sees whether everything is final, and writes down what has changed.
    fn finish(&mut self, cx: &mut Cx<'_>) {
        while self.busy < usize::from(self.state.policy.parallel.max(1)) {
            let Some(path) = self.queue.pop_front() else { break };
            self.with(&path, cx, |operator, child, cx| {
                child.queued = false;
                operator.drive(child, cx);
            });
        }
        self.finish_forwarding(cx);
        if !self.state.settled && self.open.is_empty() && self.own_is_closed() {
            self.state.settled = true;
            self.dirty = true;
            let settled = Settled { path: cx.scene.me.clone(), word: self.state.word };
            cx.out.changes.push(Change::Settled(settled));
        }
        if std::mem::take(&mut self.dirty) {
            cx.out.records.push(Record::Tree(self.tree.clone(), self.state.clone()));
        }
    }

    /// Works on one child, which is out of the map meanwhile, and keeps the counts right.
    fn with(&mut self, path: &NodePath, cx: &mut Cx<'_>, work: impl FnOnce(&mut Self, &mut Child, &mut Cx<'_>)) {
        let Some(mut child) = self.children.remove(path) else { return };
        self.busy -= usize::from(child.state.stage.takes_a_place());
        work(self, &mut child, cx);
        if child.watched && child.state.stage != Stage::Booting {
            child.watched = false;
            child.glance = None;
            cx.out.effects.push(Effect::Unwatch { tree: self.tree.clone(), path: path.clone() });
        }
        if child.gone {
            self.open.remove(path);
            cx.out.records.push(Record::ChildGone(self.tree.clone(), path.clone()));
            return;
        }
        if std::mem::take(&mut child.dirty) {
            cx.out.records.push(Record::Child(self.tree.clone(), child.state.clone()));
        }
        self.put(child);
    }

    /// A child that has not been on record, or is read from it.
    fn bear(&mut self, state: ChildState) {
        // Far enough apart that a timer of one never speaks to the next at the same place.
        self.born += 1;
        self.put(Child::new(state, self.born << 32));
    }

    fn put(&mut self, child: Child) {
        self.busy += usize::from(child.state.stage.takes_a_place());
        if child.is_closed(self.state.word) {
            self.open.remove(&child.state.path);
        } else {
            self.open.insert(child.state.path.clone());
        }
        self.children.insert(child.state.path.clone(), child);
    }

    /// Links children to what the order wants of them.
    fn index(&mut self) {
        for child in self.children.values_mut() {
            child.ask = None;
        }
        for (index, ask) in self.asks.iter().enumerate() {
            if let Some(child) = self.children.get_mut(&ask.path) {
                child.ask = Some(index);
            }
        }
    }

    /// The children in the order's sequence, then those that it does not name.
    fn sequence(&self) -> Vec<NodePath> {
        let place = |child: &Child| child.ask.unwrap_or(usize::MAX);
        let mut all: Vec<_> = self.children.values().map(|child| (place(child), child.state.path.clone())).collect();
        all.sort();
        all.into_iter().map(|(_, path)| path).collect()
    }

    fn ask(&self, child: &Child) -> Option<&Ask> {
        self.asks.get(child.ask?)
    }

    fn begin(&self, child: &mut Child, op: Op, work: Work, cx: &mut Cx<'_>) {
        child.op = Some(op);
        cx.out.effects.push(Effect::Work {
            tree: self.tree.clone(),
            who: Who::Child(child.state.path.clone()),
            scope: self.state.run,
            generation: self.state.generation,
            work,
        });
    }

    fn give_up(&self, child: &mut Child, why: Fault, cx: &mut Cx<'_>) {
        if child.op.is_some() && child.giving_up.is_none() {
            cx.out
                .effects
                .push(Effect::CancelWork { tree: self.tree.clone(), who: Who::Child(child.state.path.clone()) });
        }
        child.giving_up.get_or_insert(why);
    }

    fn arm(&self, child: &Child, kind: TimerKind, after: Millis, cx: &mut Cx<'_>) {
        let epoch = if kind == TimerKind::Silence { child.hearing } else { child.epoch };
        let key = TimerKey { tree: self.tree.clone(), who: Who::Child(child.state.path.clone()), kind, epoch };
        cx.out.effects.push(Effect::Timer { key, after_ms: after.0 });
    }

    /// Arms the silence timer, once for each silence.
    fn listen(&self, child: &mut Child, after: Millis, cx: &mut Cx<'_>) {
        if !child.silent {
            child.silent = true;
            child.hearing += 1;
            self.arm(child, TimerKind::Silence, after, cx);
        }
    }

    /// Has it looked at, now and then, what the child waits for.
    fn watch(&self, child: &mut Child, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut child.watched, true) {
            let (tree, path) = (self.tree.clone(), child.state.path.clone());
            let (scope, generation) = (self.state.run, self.state.generation);
            cx.out.effects.push(Effect::Watch { tree, path, scope, generation });
        }
    }

    /// Whether the step that has just failed is to be tried again; if so, it is when the pause is over.
    fn rests(&self, child: &mut Child, fault: &Fault, cx: &mut Cx<'_>) -> bool {
        child.attempts = child.attempts.saturating_add(1);
        if !fault.retryable || child.attempts >= self.state.policy.attempts.max(1) {
            return false;
        }
        child.resting = true;
        let pause = pause(child.attempts, cx.draw());
        self.arm(child, TimerKind::Retry, pause, cx);
        true
    }

    /// Sends a request over a child's link, if there is one.
    fn send(&self, child: &Child, request: Request, sent: Sent, cx: &mut Cx<'_>) -> Option<LinkId> {
        let link = cx.link(&child.state.path)?.id;
        cx.out.effects.push(Effect::Send { path: child.state.path.clone(), link, request, sent });
        Some(link)
    }

    /// Tells a child the word, once for each link and word.
    fn tell(&self, child: &mut Child, verb: Verb, cx: &mut Cx<'_>) {
        let Some(link) = cx.link(&child.state.path).map(|link| link.id) else { return };
        if child.told.is_some_and(|(on, told)| on == link && told >= verb) {
            return;
        }
        child.told = Some((link, verb));
        let (tree, generation) = (self.tree.clone(), self.state.generation);
        let recorded = match verb {
            Verb::Destroy if !child.state.ours => recorded_below(&child.state.path, cx.scene.views),
            _ => Vec::new(),
        };
        let directive = Directive {
            tree: tree.clone(),
            run: self.state.run,
            generation,
            verb,
            policy: self.state.policy,
            recorded,
        };
        let _ = self.send(child, Request::Directive(directive), Sent::Word(tree, generation, verb), cx);
    }

    /// A machine is there, or more is known of it.
    fn node_made(&self, child: &Child, action: Option<Action>, cx: &mut Cx<'_>) {
        cx.out.changes.push(Change::Node(NodeChange {
            path: child.state.path.clone(),
            kind: child.state.kind,
            status: Status::Running,
            action,
            vmid: child.state.vmid,
            ip: child.state.ip,
            simulated: cx.scene.simulated,
            fault: None,
        }));
    }
}

/// What is on record directly below a place, and may be there.
fn recorded_below(place: &NodePath, views: &BTreeMap<NodePath, NodeView>) -> Vec<Recorded> {
    views
        .values()
        .filter(|view| place.carries(&view.path) && !view.status.is_gone() && !never_was(view))
        .map(|view| Recorded { path: view.path.clone(), kind: view.kind, vmid: view.vmid })
        .collect()
}

/// Whether a node was not begun with in its last run, and had no machine before. One that was begun with and then skipped
/// has a host that has forgotten it: what was being made may be there.
fn never_was(view: &NodeView) -> bool {
    let idle = matches!(view.status, Status::Skipped | Status::Cancelled) && view.action == Action::None;
    idle && view.phases.is_empty() && view.vmid.is_none() && view.ip.is_none()
}

/// Everything known strictly below a place, children before their parents.
fn known_below<'a>(place: &'a NodePath, views: &'a BTreeMap<NodePath, NodeView>) -> impl Iterator<Item = &'a NodeView> {
    views.values().rev().filter(move |view| view.path != *place && view.path.is_within(place))
}

/// The pause before another attempt: doubling, with the upper half left to chance so that many do not come back at once.
fn pause(attempts: u8, random: u128) -> Millis {
    let full = RETRY_BASE_MS.saturating_mul(1 << attempts.clamp(1, 16).saturating_sub(1)).min(RETRY_MAX_MS);
    let jitter = u64::try_from(random % u128::from(full / 2 + 1)).unwrap_or(0);
    Millis(full / 2 + jitter)
}

/// A vmid as hints show it.
fn shown(vmid: Option<Vmid>) -> String {
    vmid.map_or_else(|| "no id".to_owned(), |id| id.to_string())
}
