//! Messages: who says what on which stream.
//!
//! A child dials. On `homestak-enrol/1` it sends one [`EnrolRequest`] and gets one [`EnrolReply`]. On `homestak/1` its
//! first stream is [`Hello`] and [`Greeting`]; then each stream that it opens begins with an [`Opening`], and each stream
//! that its parent opens carries one [`Request`] and one [`Reply`].
//!
//! Enums only ever grow at their end; structs of a released version never change.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::event::{Entry, Facts, NodeView, Presence, Progress};
use crate::fault::Fault;
use crate::ids::{Generation, Incarnation, JournalId, Position, Vmid};
use crate::name::SiteName;
use crate::order::{Directive, Machine, OpaqueOrder, Verb};
use crate::path::{NodePath, TreeId};
use crate::secret::Secret;
use crate::version::Range;

/// The first word on `homestak-enrol/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolRequest {
    /// First contact: the token that the parent put into this incarnation, and a request signed by the machine's new key.
    First {
        /// The provisioning token.
        token: Secret,
        /// PKCS#10 request, DER.
        csr: Vec<u8>,
    },
    /// The certificate has expired, but the key is the one on record.
    Renew {
        /// Who asks.
        path: NodePath,
        /// PKCS#10 request by the same key, DER.
        csr: Vec<u8>,
    },
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolReply {
    /// Welcome.
    Issued(Issued),
    /// No, and why.
    Refused(Fault),
}

/// A certificate, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The place that the certificate names.
    pub path: NodePath,
    /// The life of the machine that it is bound to.
    pub incarnation: Incarnation,
    /// X.509 certificate, DER.
    pub certificate: Vec<u8>,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// The parent's time, in milliseconds since 1970; the child's own clock may be in 1970.
    pub now_ms: u64,
    /// Every address and name of the parent, `host:port`.
    pub addresses: Vec<String>,
}

/// The first word on `homestak/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol numbers that the child speaks.
    pub versions: Range,
    /// The newest order version that it reads.
    pub order_version: u16,
    /// Its software version.
    pub software: String,
    /// Its place; must be the one in its certificate.
    pub path: NodePath,
    /// The life of its machine.
    pub incarnation: Incarnation,
    /// Its journal.
    pub journal: JournalId,
    /// The highest generation of each tree that it has accepted.
    pub generations: Vec<(TreeId, Generation)>,
    /// What it knows of its machine.
    pub facts: Facts,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// Welcome.
    Welcome(Welcome),
    /// No, and why.
    Refused(Fault),
}

/// What a child needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol number that both speak from here on.
    pub protocol: u16,
    /// The parent's software version.
    pub software: String,
    /// The last position of the child's journal that the parent has on disk.
    pub seen: Position,
    /// The parent's time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Every address and name of the parent, `host:port`.
    pub addresses: Vec<String>,
}

/// How a stream that the child opens begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// [`Report`]s follow, and [`Ack`]s come back, for as long as the link lives.
    Reports,
    /// A new certificate for the same key; the answer is an [`EnrolReply`].
    Renew {
        /// PKCS#10 request by the same key, DER.
        csr: Vec<u8>,
    },
    /// Something of the endpoint above, for a machine below the child or for the child itself; the answer is a
    /// [`Fetched`] and, with most of them, as many bytes as it says.
    Fetch(Fetch),
}

/// What a child fetches through its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fetch {
    /// The names of all specs.
    Specs,
    /// The resolved spec of whoever holds this token.
    Spec {
        /// The node, as the machine that asks calls itself.
        identity: String,
        /// The provisioning token that it has shown.
        token: Secret,
    },
    /// The agent's program.
    Program {
        /// The machine's architecture, as `uname -m` says it.
        arch: String,
        /// The provisioning token that was shown.
        token: Secret,
    },
    /// The resolved spec of the machine at this place, which has shown its certificate to its parent.
    Own {
        /// The place; at or below the child that asks.
        path: NodePath,
    },
    /// The disk image of this name, for machines that the child makes. From [`crate::version::IMAGES`] on.
    Image {
        /// As manifests name it.
        name: SiteName,
        /// What the child has of images already, whole pieces from their beginnings: where one of them is the image that is
        /// meant, what follows begins where it ends.
        have: Vec<Part>,
    },
    /// The container template of this name, for containers that the child makes. From [`crate::version::TEMPLATES`] on.
    Template {
        /// How its file begins; none for the newest of Debian.
        name: Option<SiteName>,
        /// As of images.
        have: Vec<Part>,
    },
}

/// The beginning of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// How much of it there is.
    pub length: u64,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fetched {
    /// A JSON document of this many bytes follows.
    Document {
        /// Bytes.
        length: u64,
    },
    /// A program follows.
    Program {
        /// Bytes.
        length: u64,
        /// SHA-256 of all of them.
        sha256: [u8; 32],
    },
    /// No, and why. Nothing follows.
    Refused(Fault),
    /// An image follows, from some byte on.
    Image {
        /// What its file is called where it comes from.
        file: String,
        /// Bytes of the whole file.
        length: u64,
        /// SHA-256 of all of them.
        sha256: [u8; 32],
        /// The first that follows.
        from: u64,
    },
}

/// What a child tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Outbox entries, contiguous and in order.
    Entries(Vec<Entry>),
    /// Who is there, below the child.
    Presence(Vec<Presence>),
    /// How far long work has come.
    Progress(Vec<Progress>),
}

/// Everything up to this position is on the parent's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The position.
    pub upto: Position,
}

/// What a parent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Take this subtree. Answered once it is on disk.
    Order {
        /// The order.
        order: OpaqueOrder,
        /// The word that the run was given meanwhile: accept the order, and obey this at once.
        word: Option<Verb>,
    },
    /// Do this with the subtree that you have. Answered once it is on disk.
    Directive(Directive),
    /// Your machine is about to be destroyed: stop working, tell everything that is left. Answered when the last entry
    /// has been acknowledged.
    Drain,
    /// Take this certificate away from a child of yours, or hand the word on towards it.
    Revoke(NodePath),
    /// Say what you have.
    Survey,
    /// Look which machines of a tree the host at this place really has, or hand the word on towards it.
    Look {
        /// The host's place.
        at: NodePath,
        /// The tree.
        tree: TreeId,
    },
    /// Look which machines of any tree of any site the host at this place really has, or hand the word on towards it. From
    /// [`crate::version::INVENTORY`] on.
    Inventory {
        /// The host's place.
        at: NodePath,
    },
    /// Destroy this one machine, which no tree names any more, or hand the word on towards its host. Answered once it is
    /// gone. From [`crate::version::INVENTORY`] on.
    Discard {
        /// The host's place.
        at: NodePath,
        /// The machine, as its host has told of it.
        machine: Held,
    },
    /// Say what the host at this place is to whoever would use it, its API token included, or hand the word on towards it.
    Describe {
        /// The host's place.
        at: NodePath,
    },
    /// Look which of these images the host at this place has, or hand the word on towards it. From
    /// [`crate::version::IMAGES`] on.
    Sources {
        /// The host's place.
        at: NodePath,
        /// As manifests name them.
        images: Vec<SiteName>,
    },
    /// Look how machines of this tree on the host at this place are not as wanted, or hand the word on towards it. From
    /// [`crate::version::COMPARE`] on.
    Compare {
        /// The host's place.
        at: NodePath,
        /// The tree.
        tree: TreeId,
        /// The machines.
        wanted: Vec<Wanted>,
    },
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, durably.
    Done,
    /// No, and why.
    Refused(Fault),
    /// What there is, tree by tree.
    Surveyed(Vec<Surveyed>),
    /// The machines that there are.
    Seen(Vec<Seen>),
    /// The machines that there are, of any tree.
    Inventory(Vec<Held>),
    /// What a host is.
    Described(PveHost),
    /// Where the images are, in the order in which they were asked for.
    Sources(Vec<Source>),
    /// How machines are not as wanted.
    Compared(Vec<Differing>),
}

/// What a machine is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The node.
    pub path: NodePath,
    /// As ordered.
    pub machine: Machine,
    /// Its address with the prefix length; none for DHCP.
    pub address: Option<String>,
    /// The way out of its network.
    pub gateway: Option<String>,
}

/// A machine that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// The node.
    pub path: NodePath,
    /// In what, `cores 4 → 2`.
    pub what: Vec<String>,
}

/// A Proxmox VE host, as its own agent knows it: what a site's `nodes/NAME.yaml` and its secrets say of one. It travels only
/// when it is asked for, and only over links on which both sides are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PveHost {
    /// As PVE calls it.
    pub node: String,
    /// The version of PVE.
    pub version: String,
    /// Where others reach its API, `https://HOST:PORT`.
    pub api_endpoint: String,
    /// What its agent uses the API with, `USER@REALM!NAME=VALUE`; none where there is none yet.
    pub api_token: Option<Secret>,
    /// The storage that its machines' disks come to lie on.
    pub datastore: Option<String>,
    /// Every storage that can be used.
    pub storages: Vec<String>,
    /// Every bridge.
    pub bridges: Vec<String>,
    /// Its own address.
    pub address: Option<IpAddr>,
}

/// Where a host has an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Nowhere.
    Absent,
    /// In a volume with this id.
    Volume(String),
    /// It makes nothing real, and so needs none.
    Simulated,
}

/// A machine of whichever tree, as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// The tree, and in it the site.
    pub tree: TreeId,
    /// The node.
    pub path: NodePath,
    /// Its id on that host.
    pub vmid: Option<Vmid>,
    /// Whether it runs.
    pub running: bool,
}

/// A machine of ours, as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The node.
    pub path: NodePath,
    /// Its id on that host.
    pub vmid: Option<Vmid>,
    /// Whether it runs.
    pub running: bool,
    /// Whether it has the life that the host's agent has on record. One that has not would be adopted.
    pub known: bool,
}

/// What an agent holds of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// The tree.
    pub tree: TreeId,
    /// The highest generation that the agent has accepted.
    pub generation: Generation,
    /// Every node below the agent that it has heard of and that is not gone, parents first.
    pub nodes: Vec<NodeView>,
}
