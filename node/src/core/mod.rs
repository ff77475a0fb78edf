//! The core of a process: everything that it decides, with no I/O. Inputs go in, records and effects come out.
//!
//! It holds one operator for each tree, the identities of its children, and the outbox of events on their way up. The
//! asynchronous shell around it ([`crate::runtime`]) writes the records, performs the effects and feeds results back; the
//! simulation does the same in virtual time.

mod accounts;
mod peers;
pub mod question;
pub mod record;
mod relay;
mod requests;
mod specs;
pub mod step;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use homestak_protocol::event::{Change, Entry, Event, NodeView, Origin, Presence, Scope};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, JournalId, Position, RunId, Seq};
use homestak_protocol::message::Reply;
use homestak_protocol::order::{OrderError, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::version::SUPPORTED;

use self::record::{Image, PeerState, Record};
use self::step::{Effect, Input, Known, Moment, Output, Sent, Ticket, Told};
pub use self::view::unseen;
use crate::link::LinkId;
use crate::operator::{Cx, Link, Operator, Scene};

/// A process's decisions.
#[derive(Clone)]
pub struct Core {
    me: NodePath,
    simulated: bool,
    journal: JournalId,
    trees: BTreeMap<TreeId, Tree>,
    peers: BTreeMap<NodePath, PeerState>,
    links: BTreeMap<NodePath, Link>,
    presences: BTreeMap<NodePath, Presence>,
    seen: BTreeMap<NodePath, (JournalId, Position)>,
    marks: BTreeMap<Origin, Seq>,
    outbox: VecDeque<Entry>,
    last_position: Position,
    last_seq: Seq,
    acked: Position,
    /// The last position handed to the uplink; none while it is down.
    sent: Option<Position>,
    /// The protocol that the parent and we speak, as of its last welcome.
    protocol: u16,
    /// Who waits for the outbox to be empty.
    draining: Vec<Ticket>,
    /// Hosts that have seen newer generations than we have.
    ahead: BTreeSet<NodePath>,
}

#[derive(Clone)]
struct Tree {
    operator: Operator,
    views: BTreeMap<NodePath, NodeView>,
}

/// What a step has collected so far.
#[derive(Default)]
struct Gathered {
    out: Output,
    views: BTreeSet<(TreeId, NodePath)>,
    marks: BTreeSet<Origin>,
}

/// A tree as it stands.
#[derive(Debug, Clone)]
pub struct TreeSnapshot {
    /// The tree.
    pub tree: TreeId,
    /// The run that it serves or served last.
    pub run: RunId,
    /// The highest generation accepted.
    pub generation: Generation,
    /// The strongest word given in this generation.
    pub word: Option<Verb>,
    /// Whether there is nothing more to do for this generation.
    pub settled: bool,
    /// Every node known, parents before children.
    pub nodes: Vec<NodeView>,
}

impl Core {
    /// What was remembered, or a new process's core with this journal. Feed it [`Input::Start`] first.
    pub fn restore(me: NodePath, simulated: bool, new_journal: JournalId, image: Image) -> Result<Self, OrderError> {
        let mut trees = BTreeMap::new();
        for (id, mut image) in image.trees {
            let views = std::mem::take(&mut image.views);
            if let Some(operator) = Operator::restore(&me, id.clone(), image)? {
                trees.insert(id, Tree { operator, views });
            }
        }
        Ok(Self {
            me,
            simulated,
            journal: image.journal.unwrap_or(new_journal),
            trees,
            peers: image.peers,
            links: BTreeMap::new(),
            presences: BTreeMap::new(),
            seen: image.seen,
            marks: image.marks,
            outbox: image.outbox.into_values().collect(),
            last_position: image.last_position,
            last_seq: image.last_seq,
            acked: image.acked,
            sent: None,
            protocol: SUPPORTED.lowest,
            draining: Vec::new(),
            ahead: BTreeSet::new(),
        })
    }

    /// What Hello says of us.
    pub fn known(&self) -> Known {
        let generations = self.trees.iter().map(|(id, tree)| (id.clone(), tree.operator.generation())).collect();
        Known { journal: self.journal, generations }
    }

    /// A tree as it stands.
    pub fn tree(&self, id: &TreeId) -> Option<TreeSnapshot> {
        let tree = self.trees.get(id)?;
        let state = tree.operator.state();
        Some(TreeSnapshot {
            tree: id.clone(),
            run: state.run,
            generation: state.generation,
            word: state.word,
            settled: state.settled,
            nodes: tree.views.values().cloned().collect(),
        })
    }

    /// Every tree on record.
    pub fn trees(&self) -> Vec<TreeSnapshot> {
        self.trees.keys().filter_map(|id| self.tree(id)).collect()
    }

    /// Every agent below, the latest word on each.
    pub fn agents(&self) -> Vec<Presence> {
        self.presences.values().cloned().collect()
    }

    /// The children that may join, and whether they are there.
    pub fn children(&self) -> Vec<(NodePath, bool)> {
        self.peers.keys().map(|path| (path.clone(), self.links.contains_key(path))).collect()
    }

    /// One step.
    pub fn step(&mut self, now: Moment, input: Input) -> Output {
        let mut all = Gathered::default();
        match input {
            Input::Start => self.start(now, &mut all),
            Input::Enrol { ticket, token, key } => self.enrol(now, ticket, &token, key, &mut all),
            Input::Renew { ticket, path, key } => self.renew(ticket, &path, key, &mut all),
            Input::Join { ticket, link, key, address, protocol, hello } => {
                self.join(now, peers::Joining { ticket, link, key, address, protocol, hello: *hello }, &mut all);
            }
            Input::Left { path, link } => self.left(now, &path, link, &mut all),
            Input::Report { path, link, report } => self.reported(now, &path, link, report, &mut all),
            Input::Up { seen, protocol } => self.up(now, seen, protocol, &mut all),
            Input::Acked(upto) => self.acknowledged(upto),
            Input::Down => self.sent = None,
            Input::Request { ticket, request } => self.requested(now, ticket, request, &mut all),
            Input::Local { ticket, ask } => self.asked(now, ticket, ask, &mut all),
            Input::Sent { sent, path, link, reply } => self.answered(now, &path, link, sent, reply, &mut all),
            Input::Worked { tree, who, result } => {
                self.operate(now, &tree, &mut all, |operator, cx| operator.worked(&who, result, cx));
            }
            Input::Glimpsed { tree, path, glance } => {
                self.operate(now, &tree, &mut all, |operator, cx| operator.child_glimpsed(&path, glance, cx));
            }
            Input::Timer(key) => {
                let tree = key.tree.clone();
                self.operate(now, &tree, &mut all, |operator, cx| operator.timer(&key, cx));
            }
        }
        self.conclude(all)
    }

    fn start(&mut self, now: Moment, all: &mut Gathered) {
        all.out.records.push(Record::Journal(self.journal));
        for id in self.trees.keys().cloned().collect::<Vec<_>>() {
            self.operate(now, &id, all, |operator, cx| operator.resume(cx));
        }
    }

    /// Lets an operator decide, and takes over what it has decided.
    fn operate(&mut self, now: Moment, id: &TreeId, all: &mut Gathered, work: impl FnOnce(&mut Operator, &mut Cx<'_>)) {
        let Some(tree) = self.trees.get_mut(id) else { return };
        let was_settled = tree.operator.state().settled;
        let scene = Scene {
            now,
            me: &self.me,
            simulated: self.simulated,
            links: &self.links,
            peers: &self.peers,
            views: &tree.views,
            marks: &self.marks,
        };
        let mut cx = Cx::new(scene);
        work(&mut tree.operator, &mut cx);
        let decided = cx.out;
        let state = tree.operator.state();
        let (settled, generation) = (state.settled && !was_settled, state.generation);
        let scope = Scope { tree: id.clone(), run: state.run, generation };
        for record in decided.records {
            self.remember(record, all);
        }
        all.out.effects.extend(decided.effects);
        for change in decided.changes {
            self.tell(now, &scope, change, all);
        }
        if settled {
            if self.me.is_coordinator() {
                self.close_accounts(now, id, &scope, all);
            }
            all.out.effects.push(Effect::Told(Told::Settled(id.clone(), generation)));
        }
    }

    fn answered(
        &mut self,
        now: Moment,
        path: &NodePath,
        link: LinkId,
        sent: Sent,
        reply: Option<Reply>,
        all: &mut Gathered,
    ) {
        let tree = match &sent {
            Sent::For(ticket) => {
                let lost = || {
                    let fault =
                        Fault::new(Code::Unreachable, format!("the link to {path} was lost before it answered"));
                    Reply::Refused(fault)
                };
                let answer = step::Answer::Reply(reply.unwrap_or_else(lost));
                all.out.effects.push(Effect::Answer { ticket: *ticket, answer });
                return;
            }
            Sent::Order(tree, generation) => {
                let present = self.links.get_mut(path).filter(|present| present.id == link);
                if let (Some(Reply::Done), Some(present)) = (&reply, present) {
                    present.generations.insert(tree.clone(), *generation);
                }
                tree.clone()
            }
            Sent::Word(tree, ..) | Sent::Drain(tree) => tree.clone(),
        };
        self.operate(now, &tree, all, |operator, cx| operator.answered(path, link, &sent, reply, cx));
    }

    /// Applies a record to what is held in memory, and has it written.
    fn remember(&mut self, record: Record, all: &mut Gathered) {
        match &record {
            Record::Peer(peer) => {
                self.peers.insert(peer.path.clone(), peer.clone());
            }
            Record::PeerGone(path) => {
                self.peers.remove(path);
                self.seen.remove(path);
                self.presences.retain(|place, _| !place.is_within(path));
                if let Some(link) = self.links.remove(path) {
                    let why = Fault::new(Code::Identity, "this machine is no longer on record");
                    all.out.effects.push(Effect::Close { path: path.clone(), link: link.id, why });
                }
            }
            Record::MarksGone(place) => {
                self.marks.retain(|origin, _| !origin.path.is_within(place));
                all.marks.retain(|origin| !origin.path.is_within(place));
            }
            Record::Seen(path, journal, position) => {
                self.seen.insert(path.clone(), (*journal, *position));
            }
            _ => {}
        }
        all.out.records.push(record);
    }

    /// Numbers a change of our own and sends it on its way.
    fn tell(&mut self, now: Moment, scope: &Scope, change: Change, all: &mut Gathered) {
        self.last_seq = self.last_seq.next();
        let origin = Origin { path: self.me.clone(), journal: self.journal };
        let event = Event { origin, seq: self.last_seq, at_ms: now.wall_ms, scope: scope.clone(), change };
        self.pass_on(event, all);
    }

    /// Folds an event into what is known, and puts it into the outbox.
    fn pass_on(&mut self, event: Event, all: &mut Gathered) {
        let tree = &event.scope.tree;
        if let (Some(path), Some(held)) = (view::subject(&event.change), self.trees.get_mut(tree)) {
            let known = held.views.get(path).cloned();
            if let Some(view) = view::fold(known, &event) {
                held.views.insert(path.clone(), view);
                all.views.insert((tree.clone(), path.clone()));
            }
        }
        self.last_position = self.last_position.next();
        let entry = Entry { position: self.last_position, event: event.clone() };
        if !self.me.is_coordinator() {
            self.outbox.push_back(entry.clone());
        }
        all.out.records.push(Record::Entry(entry));
        all.out.effects.push(Effect::Told(Told::Event(Box::new(event))));
    }

    /// Ends a step: what was gathered in several places is written once.
    fn conclude(&mut self, mut all: Gathered) -> Output {
        for (id, path) in std::mem::take(&mut all.views) {
            let Some(tree) = self.trees.get_mut(&id) else { continue };
            let Some(view) = tree.views.get(&path) else { continue };
            // The coordinator keeps what is gone until it is told to forget; an agent has no use for it.
            if view.status.is_gone() && !self.me.is_coordinator() {
                tree.views.remove(&path);
                all.out.records.push(Record::ViewGone(id, path));
            } else {
                all.out.records.push(Record::View(id, view.clone()));
            }
        }
        for origin in std::mem::take(&mut all.marks) {
            if let Some(seq) = self.marks.get(&origin) {
                all.out.records.push(Record::Mark(origin, *seq));
            }
        }
        self.pump(&mut all.out);
        if self.me.is_coordinator() {
            // Nobody is above: what is on disk here has arrived.
            self.acked = self.last_position;
        }
        if !all.out.records.is_empty() {
            all.out.records.push(Record::Acked(self.acked));
        }
        all.out
    }
}
