//! What goes into a step of the core, and what comes out of it.
//!
//! A step is pure: an input and the moment go in; records to write and effects to have come out. The records are on disk
//! before the first effect is begun.
#![expect(missing_docs, reason = "fields of variants are what their types say, or are told with the variant")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use homestak_protocol::event::{Drift, Event, NodeView, Phase, Presence, Progress};
use homestak_protocol::extras::MachineExtras;
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Generation, Incarnation, JournalId, Position, RunId};
use homestak_protocol::message::{Held, Hello, Reply, Report, Request, Surveyed, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::{CloudInit, Configuration, Directive, Machine, OpaqueOrder, Own, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use super::question::Question;
use super::record::Record;
use crate::link::{Grant, KeyId, LinkId};
use crate::world::{Configured, Ensured, Glance};

/// When a step happens, and the chance that it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// 128 random bits.
    pub random: u128,
}

/// Pairs an answer with whoever waits for it. Given out by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Whose work: this machine's own, or a child's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// This machine.
    Own,
    /// The child at this place.
    Child(NodePath),
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The process has started; what it remembers has been read.
    Start,
    /// See [`crate::link::HubEvent::Enrol`].
    Enrol { ticket: Ticket, token: Secret, key: KeyId },
    /// See [`crate::link::HubEvent::Renew`].
    Renew { ticket: Ticket, path: NodePath, key: KeyId },
    /// See [`crate::link::HubEvent::Join`].
    Join { ticket: Ticket, link: LinkId, key: KeyId, address: SocketAddr, protocol: u16, hello: Box<Hello> },
    /// A link to a child is gone.
    Left { path: NodePath, link: LinkId },
    /// A child tells something.
    Report { path: NodePath, link: LinkId, report: Report },
    /// The parent has welcomed us, has our journal up to here, and speaks this protocol with us.
    Up { seen: Position, protocol: u16 },
    /// The parent has our journal up to here.
    Acked(Position),
    /// The link to the parent is gone.
    Down,
    /// The parent asks something.
    Request { ticket: Ticket, request: Request },
    /// The edge of this process asks something.
    Local { ticket: Ticket, ask: Local },
    /// A request to a child was answered; none where the link was lost first.
    Sent { sent: Sent, path: NodePath, link: LinkId, reply: Option<Reply> },
    /// Work is done.
    Worked { tree: TreeId, who: Who, result: Result<Worked, Fault> },
    /// A timer has run out.
    Timer(TimerKey),
    /// What a machine waits for whose agent has not joined yet.
    Glimpsed { tree: TreeId, path: NodePath, glance: Glance },
}

/// What the edge of a process asks of its core.
#[derive(Debug, Clone)]
pub enum Local {
    /// Let a host's agent enrol with this token.
    Expect { host: NodePath, token: Secret, replace: bool },
    /// Begin a run.
    Order(Box<RootOrder>),
    /// Say a word to a tree.
    Directive(Directive),
    /// Take a certificate away.
    Revoke(NodePath),
    /// Ask a host what it has.
    Survey(NodePath),
    /// Take what a host has for true.
    Adopt { host: NodePath, surveyed: Vec<Surveyed> },
    /// Drop a tree from the record.
    Forget(TreeId),
    /// Ask the host at a place.
    Question { at: NodePath, question: Question },
    /// Tell how this machine is no longer what this generation of its tree made of it.
    Drift { tree: TreeId, generation: Generation, drift: Drift },
}

/// A whole tree, as the coordinator hands it to its host.
#[derive(Debug, Clone)]
pub struct RootOrder {
    /// The tree.
    pub tree: TreeId,
    /// The run.
    pub run: RunId,
    /// Its generation.
    pub generation: Generation,
    /// How it behaves.
    pub policy: Policy,
    /// The host's order.
    pub order: OpaqueOrder,
    /// Every node that the manifest names, pending, in creation order.
    pub nodes: Vec<NodeView>,
}

/// Which request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// An order of this generation.
    Order(TreeId, Generation),
    /// A word of this generation.
    Word(TreeId, Generation, Verb),
    /// A drain.
    Drain(TreeId),
    /// Something on behalf of whoever holds this ticket.
    For(Ticket),
}

/// What work came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worked {
    /// The machine is there.
    Ensured(Ensured),
    /// The machine is gone.
    Removed,
    /// This machine is a host.
    Host,
    /// This machine is configured.
    Configured(Configured),
    /// This machine is what its order says.
    Verified,
}

/// A timer. One whose epoch is no longer the current one has nothing to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey {
    /// The tree.
    pub tree: TreeId,
    /// Whose.
    pub who: Who,
    /// Which.
    pub kind: TimerKind,
    /// Counts what has been begun for that child or machine.
    pub epoch: u64,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// The phase has taken too long.
    Limit,
    /// It is time to try again.
    Retry,
    /// The agent has been silent for too long.
    Silence,
}

/// Work to be begun.
#[derive(Debug, Clone)]
pub enum Work {
    /// See [`crate::world::World::ensure`].
    Ensure {
        run: RunId,
        incarnation: Incarnation,
        machine: Box<Machine>,
        cloud_init: Box<CloudInit>,
        token: Secret,
        extras: Box<MachineExtras>,
    },
    /// See [`crate::world::World::remove`].
    Remove { vmid: Option<homestak_protocol::ids::Vmid>, only: Option<Incarnation> },
    /// See [`crate::world::World::become_host`].
    BecomeHost(Box<Own>),
    /// See [`crate::world::World::configure`].
    Configure(Box<Configuration>),
    /// See [`crate::world::World::verify`].
    Verify(Box<Own>),
}

impl Work {
    /// The phase that it is part of.
    pub const fn phase(&self) -> Phase {
        match self {
            Work::Ensure { .. } => Phase::Provision,
            Work::Remove { .. } => Phase::Destroy,
            Work::BecomeHost(_) => Phase::Host,
            Work::Configure(_) => Phase::Configure,
            Work::Verify(_) => Phase::Verify,
        }
    }

    /// A short name, for crash points and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Work::Ensure { .. } => "ensure",
            Work::Remove { .. } => "remove",
            Work::BecomeHost(_) => "host",
            Work::Configure(_) => "configure",
            Work::Verify(_) => "verify",
        }
    }
}

/// Something to be done, after the records are on disk.
#[derive(Debug)]
pub enum Effect {
    /// Begin work.
    Work { tree: TreeId, who: Who, scope: RunId, generation: Generation, work: Work },
    /// Its result is no longer wanted; it will still be given.
    CancelWork { tree: TreeId, who: Who },
    /// Send a request to a child.
    Send { path: NodePath, link: LinkId, request: Request, sent: Sent },
    /// Tell a child how far its journal has been read.
    Ack { path: NodePath, link: LinkId, upto: Position },
    /// Close a link.
    Close { path: NodePath, link: LinkId, why: Fault },
    /// Find out something of this host, and answer whoever holds the ticket.
    Inquire { ticket: Ticket, inquiry: Inquiry },
    /// Answer whoever holds the ticket.
    Answer { ticket: Ticket, answer: Answer },
    /// Tell the parent.
    Report(Report),
    /// Wake the core later.
    Timer { key: TimerKey, after_ms: u64 },
    /// Look now and then what a machine waits for, until its agent joins.
    Watch { tree: TreeId, path: NodePath, scope: RunId, generation: Generation },
    /// Its agent has joined, or is no longer waited for.
    Unwatch { tree: TreeId, path: NodePath },
    /// Tell whoever listens in this process.
    Told(Told),
}

/// What is to be found out of this host, or done to it, whatever the record says.
#[derive(Debug)]
pub enum Inquiry {
    /// Which machines of a tree there are; those with these lives are on record.
    Look { tree: TreeId, lives: BTreeMap<NodePath, Incarnation> },
    /// Which machines of any tree there are.
    Inventory,
    /// Where these images are.
    Sources(Vec<SiteName>),
    /// How machines of a tree are not as wanted.
    Compare { tree: TreeId, wanted: Vec<Wanted> },
    /// Destroy this machine.
    Discard(Held),
    /// What this machine is as a host.
    Describe,
}

impl Effect {
    /// A short name, for crash points and logs; none for what changes nothing outside this process.
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Effect::Work { work, .. } => Some(work.name()),
            Effect::Send { request, .. } => Some(match request {
                Request::Order { .. } => "send-order",
                Request::Directive(_) => "send-directive",
                Request::Drain => "send-drain",
                Request::Revoke(_) => "send-revoke",
                Request::Survey => "send-survey",
                Request::Look { .. } => "send-look",
                Request::Inventory { .. } => "send-inventory",
                Request::Discard { .. } => "send-discard",
                Request::Describe { .. } => "send-describe",
                Request::Sources { .. } => "send-sources",
                Request::Compare { .. } => "send-compare",
            }),
            Effect::Ack { .. } => Some("ack"),
            Effect::Answer { .. } => Some("answer"),
            Effect::Report(Report::Entries(_)) => Some("report"),
            _ => None,
        }
    }
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// To an enrolment or renewal.
    Grant(Result<Grant, Fault>),
    /// To a join.
    Joined(Result<Position, Fault>),
    /// To a request of the parent, or of the edge.
    Reply(Reply),
}

/// What listeners in this process hear.
#[derive(Debug, Clone)]
pub enum Told {
    /// An event, of this process or from below, now on disk.
    Event(Box<Event>),
    /// Who is there.
    Presence(Box<Presence>),
    /// How far long work has come.
    Progress(Box<Progress>),
    /// A tree has nothing more to do here for this generation.
    Settled(TreeId, Generation),
}

/// What a step came to.
#[derive(Debug, Default)]
pub struct Output {
    /// To be written, all or none, before anything else.
    pub records: Vec<Record>,
    /// To be done then, in this order.
    pub effects: Vec<Effect>,
}

/// What is said in Hello.
#[derive(Debug, Clone)]
pub struct Known {
    /// Our journal.
    pub journal: JournalId,
    /// The highest generation of each tree.
    pub generations: Vec<(TreeId, Generation)>,
}
