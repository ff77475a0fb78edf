//! The side of a process that accepts its children.
//!
//! Tasks: one accepts connections ([`accept`]), as many at a time as can be looked at ([`door`]); each connection has one of its own, which serves either a first contact
//! ([`enrol`]) or, for as long as it lives, a link ([`link`]). All of them ask the core through [`HubEvent`]s and do as it
//! says. A child that stops reading stops its own link and nothing else.

mod accept;
mod callers;
mod door;
mod enrol;
mod fetch;
mod link;
mod refusals;
mod requests;
mod streams;
mod unproven;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Issued;
use homestak_protocol::path::NodePath;
use quinn::Endpoint;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::callers::Callers;
use self::refusals::{Refusals, What};
use self::unproven::Unproven;
use super::addresses::Addresses;
use super::limits::Timing;
use super::quic;
use crate::link::{Grant, HubEvent, LinkId};
use crate::source::SpecSource;
use crate::tls;
use crate::trust::TrustError;
use crate::trust::ca::{CHILD_LIFETIME, Ca, Request};
use crate::trust::pin::CaPin;

/// How a hub is to be.
#[derive(Debug)]
pub struct HubOptions {
    /// Where it listens; see [`super::pair::bind_pair`].
    pub socket: UdpSocket,
    /// Our software version.
    pub software: String,
    /// What it tells its children about where it is.
    pub addresses: Addresses,
    /// How long its children's certificates live.
    pub lifetime: Duration,
    /// Time limits.
    pub timing: Timing,
}

impl HubOptions {
    /// A hub on this socket, with everything else as usual.
    pub fn new(socket: UdpSocket, software: impl Into<String>) -> Self {
        let (addresses, timing) = (Addresses::default(), Timing::default());
        Self { socket, software: software.into(), addresses, lifetime: CHILD_LIFETIME, timing }
    }
}

/// Why a hub cannot be.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The socket says no.
    #[error("the hub's socket cannot be used")]
    Socket(#[from] io::Error),
    /// The CA says no.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A hub.
pub struct Hub {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

/// What all tasks of a hub have in common.
struct Shared {
    ca: Arc<Ca>,
    events: mpsc::Sender<HubEvent>,
    software: String,
    addresses: Addresses,
    bound: SocketAddr,
    lifetime: Duration,
    timing: Timing,
    unproven: Unproven,
    refusals: Refusals,
    callers: Callers,
    last_link: AtomicU64,
    /// Answers what children fetch; unset where nobody does.
    source: OnceLock<Arc<dyn SpecSource>>,
}

impl Hub {
    /// Takes the socket over. Children are heard once it runs.
    pub fn bind(options: HubOptions, ca: Arc<Ca>, events: mpsc::Sender<HubEvent>) -> Result<Self, HubError> {
        let HubOptions { socket, software, addresses, lifetime, timing } = options;
        let bound = socket.local_addr()?;
        let tls = tls::hub(&ca, &addresses.names(bound))?;
        let endpoint = quic::listener(socket, quic::server(tls, &timing)?, &ca.reset_key())?;
        let shared = Shared {
            ca,
            events,
            software,
            addresses,
            bound,
            lifetime,
            timing,
            unproven: Unproven::default(),
            refusals: Refusals::default(),
            callers: Callers::default(),
            last_link: AtomicU64::new(0),
            source: OnceLock::new(),
        };
        Ok(Self { endpoint, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.bound
    }

    /// By which children know it.
    pub fn pin(&self) -> CaPin {
        self.shared.ca.pin()
    }

    /// Where a machine that is about to be made can reach it: its `HOMESTAK_SERVER`, as `host:port` each.
    pub fn servers_for(&self, child: &NodePath) -> Vec<String> {
        self.shared.addresses.all(child, self.shared.bound)
    }

    /// From where packets have come.
    pub fn callers(&self) -> Callers {
        self.shared.callers.clone()
    }

    /// Lets this source answer what children fetch. The first one that is given stays.
    pub fn answer_with(&self, source: Arc<dyn SpecSource>) {
        let _ = self.shared.source.set(source);
    }

    /// Serves children until it is cancelled; then tells each of them, within [`Timing::farewell`].
    pub fn run(self, tracker: &TaskTracker, cancel: CancellationToken) {
        let tasks = tracker.clone();
        tracker.spawn(accept::run(self.endpoint, self.shared, tasks, cancel));
    }
}

impl Shared {
    /// Somebody is turned away at the door.
    fn refused(&self, address: SocketAddr, why: &str) {
        self.refusals.note(What::Connection, address, None, why);
    }

    fn next_link(&self) -> LinkId {
        LinkId(self.last_link.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }

    /// Asks the core something about a peer, and waits no longer than [`Timing::decision`].
    async fn ask<T>(&self, event: HubEvent, answer: oneshot::Receiver<Result<T, Fault>>) -> Result<T, Fault> {
        let asked = async {
            self.events.send(event).await.map_err(|_| leaving())?;
            answer.await.map_err(|_| leaving())?
        };
        let late = || Fault::new(Code::Timeout, "the parent is too busy to answer");
        timeout(self.timing.decision, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// Signs what was granted.
    fn issue(&self, request: &Request, grant: &Grant, told: Vec<String>) -> Result<Issued, Fault> {
        let issued = self.ca.issue(request, grant, self.lifetime).map_err(|error| {
            tracing::error!(path = %grant.path, %error, "a certificate cannot be issued");
            Fault::new(Code::Internal, "the certificate cannot be issued").at(&grant.path)
        })?;
        Ok(Issued { addresses: told, ..issued })
    }
}

/// This process ends; another will answer.
fn leaving() -> Fault {
    Fault::new(Code::Unreachable, "the parent is shutting down")
}
