//! The operator: what happens to one tree on one level, decided without doing any of it.
//!
//! It takes what happened (an order or a word from above, work that ended, a child that joined or left or told something,
//! a timer) and answers with what to remember, what to tell and what to begin. It is driven by levels, not by edges: after
//! every input each child that could move is looked at and taken one step from where it is to where it should be. So a
//! restart is nothing special: what was in flight is begun again, which every effect allows.
//!
//! - `state`: what is remembered. - `up`: making machines and handing on orders. - `down`: destroying them.
//! - `own`: this machine itself. - `word`: orders, words and failures, and what they mean for everybody.

mod down;
mod own;
mod state;
mod up;
mod word;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use homestak_protocol::event::{
    Action, Change, Event, NodeChange, NodeView, Origin, Phase, PhaseChange, PhaseStatus, Settled, Status,
};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Generation, JournalId, Seq, Vmid};
use homestak_protocol::message::{Reply, Request};
use homestak_protocol::order::{
    CloudInit, Directive, Machine, Millis, NodeKind, OpaqueOrder, Order, OrderError, Own, Recorded, Verb,
};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

pub use self::state::{ChildState, Goal, OwnStage, OwnState, Stage, Why};
use crate::core::record::{PeerState, Record, TreeImage, TreeState};
use crate::core::step::{Effect, Moment, Sent, TimerKey, TimerKind, Who, Work, Worked};
use crate::link::LinkId;

/// The first pause before a retry; each further one is twice as long.
const RETRY_BASE_MS: u64 = 200;
/// The longest pause between retries: long enough for a lock to be freed, short enough to be noticed when it is.
const RETRY_MAX_MS: u64 = 10_000;

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
    /// The highest generation of each tree that its agent has accepted.
    pub(crate) generations: BTreeMap<TreeId, Generation>,
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

    fn now_ms(&self) -> u64 {
        self.scene.now.wall_ms
    }

    /// Another 128 bits of the step's chance.
    fn draw(&mut self) -> u128 {
        self.draws += 1;
        // An odd multiplier is a bijection on 128 bits, so draws of one step differ from each other.
        self.scene.now.random.rotate_left(self.draws).wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15)
    }

    fn link(&self, path: &NodePath) -> Option<&Link> {
        self.scene.links.get(path)
    }

    fn node(&mut self, path: &NodePath, kind: NodeKind, status: Status, action: Option<Action>, fault: Option<Fault>) {
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

    fn phase(&mut self, path: &NodePath, phase: Phase, status: PhaseStatus, began_ms: u64, note: Option<String>) {
        let duration_ms = match status {
            PhaseStatus::Running => 0,
            _ => self.now_ms().saturating_sub(began_ms),
        };
        self.out.changes.push(Change::Phase(PhaseChange { path: path.clone(), phase, status, duration_ms, note }));
    }
}

/// What the order in force wants of a child.
#[derive(Debug, Clone)]
struct Ask {
    path: NodePath,
    kind: NodeKind,
    order: OpaqueOrder,
    /// Its machine; none for a host, which is not made.
    make: Option<Make>,
}

/// A machine to be made.
#[derive(Debug, Clone)]
struct Make {
    machine: Machine,
    cloud_init: CloudInit,
    token: Secret,
}

impl Ask {
    fn of_host(tree: &TreeId, order: OpaqueOrder) -> Self {
        Self { path: NodePath::host_root(&tree.host), kind: NodeKind::Pve, order, make: None }
    }

    /// The parts of an order. A child that would lie too deep is not among them; whoever lowered the manifest has
    /// refused it long before.
    fn of_order(order: Order) -> (Option<Own>, Vec<Self>) {
        let (place, manifest) = (order.path, order.tree.manifest);
        let asks = order.children.into_iter().filter_map(|child| {
            Some(Self {
                path: place.child(&manifest, &child.name).ok()?,
                kind: child.machine.kind,
                order: child.order,
                make: Some(Make { machine: child.machine, cloud_init: child.cloud_init, token: child.token }),
            })
        });
        (order.own, asks.collect())
    }
}

/// Work that has been begun for a child and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Ensure,
    Remove,
}

/// A child: what is remembered of it, and what is not.
#[derive(Debug, Clone)]
struct Child {
    state: ChildState,
    /// Its place in the order; none where the order does not name it.
    ask: Option<usize>,
    /// What has been begun.
    op: Option<Op>,
    /// A new order came while it was in flight: begin from the start when it ends.
    again: bool,
    /// Its result is no longer wanted, and why.
    giving_up: Option<Fault>,
    /// How often the current step has failed.
    attempts: u8,
    /// A retry is due later.
    resting: bool,
    /// It wants a place.
    queued: bool,
    /// Counts what timers were armed for.
    epoch: u64,
    /// A silence timer runs.
    silent: bool,
    /// It was silent for too long while it was to be told of its end.
    given_up_on: bool,
    /// Its agent has shown itself, and has not joined yet.
    enrolling: bool,
    /// The link on which its order was sent.
    sent: Option<LinkId>,
    /// The strongest word that it was told, and the link on which.
    told: Option<(LinkId, Verb)>,
    /// The link on which it was asked to drain.
    drain_sent: Option<LinkId>,
    /// Everything that it had to tell has been taken over.
    drained: bool,
    /// It is to be dropped from the record.
    gone: bool,
    dirty: bool,
}

impl Child {
    fn new(state: ChildState) -> Self {
        Self {
            state,
            ask: None,
            op: None,
            again: false,
            giving_up: None,
            attempts: 0,
            resting: false,
            queued: false,
            epoch: 0,
            silent: false,
            given_up_on: false,
            enrolling: false,
            sent: None,
            told: None,
            drain_sent: None,
            drained: false,
            gone: false,
            dirty: false,
        }
    }

    /// Nothing is in flight, and nothing more will be done unless something new is said.
    fn is_closed(&self, word: Option<Verb>) -> bool {
        let state = &self.state;
        self.op.is_none()
            && (state.stage.is_end()
                || (state.goal == Goal::Up && state.stage == Stage::Delegated && state.has_settled(word)))
    }

    /// Moves on to another stage: what timers and retries were about is over.
    fn enter(&mut self, stage: Stage, now_ms: u64) {
        self.state.stage = stage;
        self.state.began_ms = now_ms;
        self.epoch += 1;
        self.attempts = 0;
        self.resting = false;
        self.silent = false;
        self.dirty = true;
    }
}

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
            Some(order) => (operator.own_ask, operator.asks) = Ask::of_order(order.open()?),
            None => {}
        }
        for state in image.children.into_values() {
            operator.put(Child::new(state));
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

    /// Whether nothing is left on record on this level.
    pub(crate) fn is_bare(&self) -> bool {
        self.children.is_empty()
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

    /// A child's agent is there.
    pub(crate) fn child_joined(&mut self, path: &NodePath, cx: &mut Cx<'_>) {
        self.with(path, cx, |operator, child, cx| {
            child.silent = false;
            child.sent = None;
            child.told = None;
            child.drain_sent = None;
            child.given_up_on = false;
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
            child.sent = None;
            child.told = None;
            child.drain_sent = None;
            operator.drive(child, cx);
        });
        self.finish(cx);
    }

    /// Something that a child told, of itself or of what is below it. It is on its way up already.
    pub(crate) fn child_told(&mut self, path: &NodePath, event: &Event, cx: &mut Cx<'_>) {
        if event.scope.generation != self.state.generation || event.scope.run != self.state.run {
            return;
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
                if child.epoch == key.epoch {
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
        let key =
            TimerKey { tree: self.tree.clone(), who: Who::Child(child.state.path.clone()), kind, epoch: child.epoch };
        cx.out.effects.push(Effect::Timer { key, after_ms: after.0 });
    }

    /// Arms the silence timer once.
    fn listen(&self, child: &mut Child, after: Millis, cx: &mut Cx<'_>) {
        if !child.silent {
            child.silent = true;
            self.arm(child, TimerKind::Silence, after, cx);
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

    fn node_made(&self, child: &Child, status: Status, action: Action, cx: &mut Cx<'_>) {
        cx.out.changes.push(Change::Node(NodeChange {
            path: child.state.path.clone(),
            kind: child.state.kind,
            status,
            action: Some(action),
            vmid: child.state.vmid,
            ip: child.state.ip,
            simulated: cx.scene.simulated,
            fault: None,
        }));
    }
}

/// What is on record directly below a place and not gone.
fn recorded_below(place: &NodePath, views: &BTreeMap<NodePath, NodeView>) -> Vec<Recorded> {
    views
        .values()
        .filter(|view| place.carries(&view.path) && !view.status.is_gone())
        .map(|view| Recorded { path: view.path.clone(), kind: view.kind, vmid: view.vmid })
        .collect()
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
