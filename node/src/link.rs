//! The words between the transport (hub, uplink) and the process that decides (the core's shell).
//!
//! The transport moves messages and proves who a peer is by its certificate or token and key; it decides nothing. Every
//! question goes to the core over a bounded channel, with a oneshot for the answer where one is due; every order to a
//! child goes through its [`LinkHandle`].

use std::fmt;
use std::net::SocketAddr;

use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Incarnation, Position};
use homestak_protocol::message::{Hello, Reply, Report, Request, Welcome};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// How many words may wait between the transport and the core. Each holds at most one frame; past this the transport
/// stops reading, and QUIC's flow control stops the peer.
pub const MAILBOX: usize = 256;

/// SHA-256 of a public key (SubjectPublicKeyInfo, DER): what an identity is bound to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// One connection of one child; a later one of the same child has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Whom a certificate is to be issued to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its place.
    pub path: NodePath,
    /// The life of its machine.
    pub incarnation: Incarnation,
}

/// What the hub tells and asks the core.
#[derive(Debug)]
pub enum HubEvent {
    /// First contact: is there a machine with this token, and may this key be bound to it?
    Enrol {
        /// The token that was shown.
        token: Secret,
        /// The key that the request was signed with.
        key: KeyId,
        /// Where from.
        address: SocketAddr,
        /// Whom to issue to, or why not.
        answer: oneshot::Sender<Result<Grant, Fault>>,
    },
    /// A new certificate for a key on record; the old one may have expired.
    Renew {
        /// Who asks.
        path: NodePath,
        /// The key that the request was signed with.
        key: KeyId,
        /// Where from.
        address: SocketAddr,
        /// Whom to issue to, or why not.
        answer: oneshot::Sender<Result<Grant, Fault>>,
    },
    /// A child with a certificate of ours has said Hello. Its path has been checked against the certificate.
    Join {
        /// The child's key.
        key: KeyId,
        /// Where from.
        address: SocketAddr,
        /// The protocol number that both speak.
        protocol: u16,
        /// What it said.
        hello: Box<Hello>,
        /// How to reach it.
        link: LinkHandle,
        /// The last position of its journal that is on disk here, or why it may not join.
        answer: oneshot::Sender<Result<Position, Fault>>,
    },
    /// A child that has joined tells something.
    Report {
        /// The child.
        path: NodePath,
        /// Its link.
        link: LinkId,
        /// What it tells.
        report: Report,
    },
    /// A link that had joined is gone.
    Left {
        /// The child.
        path: NodePath,
        /// Its link.
        link: LinkId,
        /// Why, for the log.
        reason: String,
    },
}

/// What the core may do with a child that has joined. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    /// Which connection this is.
    pub id: LinkId,
    /// Takes commands; bounded by [`MAILBOX`].
    pub commands: mpsc::Sender<LinkCommand>,
}

/// A command to the task that owns a child's link.
#[derive(Debug)]
pub enum LinkCommand {
    /// Send a request on a stream of its own. The sender is dropped if the link is lost first.
    Request(Request, oneshot::Sender<Reply>),
    /// Everything up to here is on disk.
    Ack(Position),
    /// Close the link and say why.
    Close(Fault),
}

/// What the uplink tells and asks the core.
#[derive(Debug)]
pub enum UplinkEvent {
    /// A link is about to be made: what should Hello say? (The uplink fills in versions and software.)
    Dialling {
        /// Takes it.
        answer: oneshot::Sender<HelloParts>,
    },
    /// The parent has welcomed us.
    Up {
        /// What it said.
        welcome: Box<Welcome>,
        /// Takes reports for as long as this link lives.
        reports: mpsc::Sender<Report>,
    },
    /// Everything up to here is on the parent's disk.
    Acked(Position),
    /// The parent asks something.
    Request {
        /// What.
        request: Request,
        /// Takes the answer; dropped if the link is lost.
        answer: oneshot::Sender<Reply>,
    },
    /// The link is gone; the uplink dials again by itself.
    Down {
        /// Why, for the log.
        reason: String,
    },
}

/// What only the core knows of a Hello.
#[derive(Debug)]
pub struct HelloParts {
    /// Its journal.
    pub journal: homestak_protocol::ids::JournalId,
    /// The highest generation of each tree that it has accepted.
    pub generations: Vec<(homestak_protocol::path::TreeId, homestak_protocol::ids::Generation)>,
    /// What is known of the machine.
    pub facts: homestak_protocol::event::Facts,
}
