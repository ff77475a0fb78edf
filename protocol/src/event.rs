//! Events: what happened, told upward. Each state change has an origin and a number and is never dropped; presence and
//! progress are the latest word only and carry no number.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::ids::{Generation, Incarnation, JournalId, Position, RunId, Seq, Vmid};
use crate::order::{NodeKind, Verb};
use crate::path::{NodePath, TreeId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every one there is, in wire order.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The word that people and programs see.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(
    /// How a node stands.
    Status {
        /// Nothing has been done about it yet.
        Pending = "pending",
        /// It is being worked on.
        Running = "running",
        /// It is itself ready.
        Completed = "completed",
        /// It could not be made or configured.
        Failed = "failed",
        /// It was not started because of another node's failure.
        Skipped = "skipped",
        /// It was given up on request.
        Cancelled = "cancelled",
        /// Nothing has been heard of it for longer than the grace.
        Unreachable = "unreachable",
        /// This run made it and destroyed it again after a failure.
        RolledBack = "rolled_back",
        /// It was destroyed.
        Destroyed = "destroyed",
    }
);

impl Status {
    /// Whether a run has nothing more to do about such a node.
    pub const fn is_final(self) -> bool {
        !matches!(self, Status::Pending | Status::Running)
    }

    /// Whether a run with such a node has failed.
    pub const fn is_failure(self) -> bool {
        matches!(self, Status::Failed | Status::Skipped | Status::Cancelled | Status::Unreachable | Status::RolledBack)
    }

    /// Whether such a node's machine is gone for good.
    pub const fn is_gone(self) -> bool {
        matches!(self, Status::RolledBack | Status::Destroyed)
    }
}

words!(
    /// What a run did to a node's machine.
    Action {
        /// Nothing yet, or nothing at all.
        None = "none",
        /// Made it.
        Created = "created",
        /// Found it, ours but not on record, and took it over.
        Adopted = "adopted",
        /// Changed it in place.
        Updated = "updated",
        /// Found it as it should be.
        Unchanged = "unchanged",
        /// Destroyed it.
        Destroyed = "destroyed",
        /// Left it, though the manifest no longer names it.
        Orphaned = "orphaned",
    }
);

words!(
    /// A step of a node's way.
    Phase {
        /// Its machine is made.
        Provision = "provision",
        /// From the machine's start until its agent first shows itself.
        Boot = "boot",
        /// Its agent proves who it is and takes its order.
        Enrol = "enrol",
        /// It becomes a host.
        Host = "host",
        /// It applies its spec.
        Configure = "configure",
        /// It hands its children their orders.
        Forward = "forward",
        /// It checks that it is what its order says.
        Verify = "verify",
        /// Its machine is destroyed.
        Destroy = "destroy",
    }
);

words!(
    /// How a phase stands.
    PhaseStatus {
        /// It has begun.
        Running = "running",
        /// It is done.
        Passed = "passed",
        /// It could not be done.
        Failed = "failed",
        /// There was nothing to do.
        Skipped = "skipped",
    }
);

/// Who numbered an event: a place, and the journal that it had then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The place.
    pub path: NodePath,
    /// Its journal.
    pub journal: JournalId,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:.8}", self.path, self.journal.to_string())
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The tree.
    pub tree: TreeId,
    /// The run.
    pub run: RunId,
    /// The generation.
    pub generation: Generation,
}

/// A state change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who numbered it.
    pub origin: Origin,
    /// Its number there.
    pub seq: Seq,
    /// When, in milliseconds since 1970 by the origin's clock.
    pub at_ms: u64,
    /// What it is about.
    pub scope: Scope,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node stands differently.
    Node(NodeChange),
    /// A phase began or ended.
    Phase(PhaseChange),
    /// An agent has nothing more to do for this generation.
    Settled(Settled),
    /// Events of a lost machine after this number will never come.
    Gap(Gap),
    /// A node was looked at again, some time after it was completed. The latest word counts.
    Drift(Drift),
}

/// Every node of an agent's subtree is final, and it has obeyed every word up to this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The agent.
    pub path: NodePath,
    /// The strongest word that it had been given by then.
    pub word: Option<Verb>,
}

/// How a node stands now. What is `None` stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChange {
    /// The node.
    pub path: NodePath,
    /// What it is.
    pub kind: NodeKind,
    /// How it stands.
    pub status: Status,
    /// What was done to its machine.
    pub action: Option<Action>,
    /// Its machine's id on its host.
    pub vmid: Option<Vmid>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Whether nothing real was made or installed.
    pub simulated: bool,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// A phase of a node began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// The node.
    pub path: NodePath,
    /// The phase.
    pub phase: Phase,
    /// How it stands.
    pub status: PhaseStatus,
    /// How long it took, once it has ended.
    pub duration_ms: u64,
    /// A word about it, such as the tool's own at a failure.
    pub note: Option<String>,
}

/// Events that died with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Whose events.
    pub origin: Origin,
    /// The last that was seen.
    pub after: Seq,
}

/// How a node is no longer what its spec says. From [`crate::version::DRIFT`] on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The node.
    pub path: NodePath,
    /// How many of its resources are not as its spec has them; 0 where all are.
    pub differences: u32,
    /// The first of them, a line each: [`Drift::LINES`] at most, each of [`Drift::LINE`] bytes at most.
    pub lines: Vec<String>,
    /// When it was looked at, in milliseconds since 1970 by its own clock.
    pub checked_ms: u64,
    /// Whether what differed when this was last told is as it should be again.
    pub mended: bool,
}

impl Drift {
    /// How many lines are told: enough to see what happened, and an event stays small whatever a spec holds.
    pub const LINES: usize = 8;
    /// How long one of them is, in bytes.
    pub const LINE: usize = 200;
}

/// What is known of a machine from the inside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Its host name.
    pub hostname: String,
    /// The name and version of its operating system.
    pub os: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its processor architecture.
    pub arch: String,
    /// Processors.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Memory available, in MiB.
    pub memory_free_mib: u64,
    /// Size of the file system that holds its state, in GiB.
    pub disk_gib: u64,
    /// Free space there, in GiB.
    pub disk_free_gib: u64,
    /// Load average over one minute, in thousandths.
    pub load_milli: u64,
    /// Whether machines inside it may run machines of their own.
    pub nested: bool,
}

/// Whether an agent is there. The latest word counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The agent.
    pub path: NodePath,
    /// The life of its machine.
    pub incarnation: Incarnation,
    /// Whether its parent has a link to it.
    pub connected: bool,
    /// When that last changed, in milliseconds since 1970 by its parent's clock.
    pub since_ms: u64,
    /// When it was last heard of.
    pub seen_ms: u64,
    /// Its software version.
    pub software: String,
    /// The protocol that it speaks with its parent.
    pub protocol: u16,
    /// The address that its parent sees.
    pub address: String,
    /// Its facts, as of when it joined.
    pub facts: Facts,
}

/// How far long work has come. The latest word counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The run that it belongs to.
    pub scope: Scope,
    /// The node.
    pub path: NodePath,
    /// The phase.
    pub phase: Phase,
    /// What is being done.
    pub text: String,
}

/// An entry of an outbox: an event, own or relayed, and its place in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place; what the parent acknowledges.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// Everything that events have told about a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node.
    pub path: NodePath,
    /// What it is.
    pub kind: NodeKind,
    /// The generation that last spoke of it.
    pub generation: Generation,
    /// How it stands.
    pub status: Status,
    /// What the last run did to its machine.
    pub action: Action,
    /// Its machine's id on its host.
    pub vmid: Option<Vmid>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Whether nothing real was made or installed.
    pub simulated: bool,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// When the last run began with it, in milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// When it was final.
    pub ended_ms: Option<u64>,
    /// Its phases in the last run, in the order in which they began.
    pub phases: Vec<PhaseView>,
}

/// Everything that events have told about a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseView {
    /// The phase.
    pub phase: Phase,
    /// How it stands.
    pub status: PhaseStatus,
    /// How long it took, once it has ended.
    pub duration_ms: u64,
    /// A word about it.
    pub note: Option<String>,
}
