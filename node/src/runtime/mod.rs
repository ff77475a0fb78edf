//! The shell around the core: it feeds what happens into the core, writes what the core wants remembered, and does what
//! the core wants done.
//!
//! One task (`shell`) owns the core, the journal, the timers and the links. It takes inputs from the hub, the uplink, the
//! [`Handle`], timers and ended work; steps the core through everything that is ready; appends all records in one write;
//! and only then begins the effects. Work and requests to children run in tasks of their own and come back as inputs; so do
//! looks at machines whose agents are waited for (`glance`).
//! Listeners hear what happens over a broadcast channel; one that is too slow is told so and asks for a snapshot.

mod glance;
mod handle;
mod look;
mod shell;
mod timers;
mod work;

use std::sync::Arc;

use homestak_protocol::event::{Event, Presence, Progress};
use homestak_protocol::ids::{Generation, JournalId};
use homestak_protocol::message::Welcome;
use homestak_protocol::order::OrderError;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::sync::mpsc;

pub use self::handle::{Handle, Status};
pub use crate::core::TreeSnapshot;
pub use crate::core::step::RootOrder;
use crate::crash;
use crate::journal::{Journal, JournalError};
use crate::lifecycle::Lifecycle;
use crate::link::{HubEvent, UplinkEvent};
use crate::world::{Boot, World};

/// What a machine's agent needs to join us, without its token, which comes with the order.
pub type BootSource = Arc<dyn Fn(&NodePath) -> BootParts + Send + Sync>;

/// Where a child finds us, and how it knows us.
#[derive(Debug, Clone, Default)]
pub struct BootParts {
    /// Our addresses and names, as `host:port`.
    pub servers: Vec<String>,
    /// `sha256:<hex>` of our CA.
    pub ca: String,
    /// Our CA's certificate, PEM.
    pub ca_pem: String,
}

impl BootParts {
    fn with_token(self, token: homestak_protocol::secret::Secret) -> Boot {
        Boot { servers: self.servers, ca: self.ca, ca_pem: Some(self.ca_pem), token }
    }
}

/// What a process is made of.
pub struct Options {
    /// Our place; `@` for the coordinator.
    pub place: NodePath,
    /// What we remember.
    pub journal: Box<dyn Journal>,
    /// The machine that we run on, and those that we make.
    pub world: Arc<dyn World>,
    /// What the hub tells; none for a leaf.
    pub hub: Option<mpsc::Receiver<HubEvent>>,
    /// What the uplink tells; none for the coordinator.
    pub uplink: Option<mpsc::Receiver<UplinkEvent>>,
    /// What a child's machine is told of us.
    pub boot: BootSource,
    /// Where to die.
    pub crash: crash::Plan,
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What we remember cannot be read.
    #[error("what this process remembers cannot be read")]
    Journal(#[from] JournalError),
    /// What we remember is from a newer version.
    #[error("an order on record cannot be read")]
    Order(#[from] OrderError),
    /// There is no randomness.
    #[error("the system has no random numbers")]
    Random,
}

/// What listeners hear.
#[derive(Debug, Clone)]
pub enum Update {
    /// An event of this process or from below, on disk by now.
    Event(Arc<Event>),
    /// Who is there.
    Presence(Arc<Presence>),
    /// How far long work has come.
    Progress(Arc<Progress>),
    /// A tree has nothing more to do here for this generation.
    Settled(TreeId, Generation),
    /// The parent has welcomed us.
    Up(Arc<Welcome>),
    /// The link to the parent is gone.
    Down,
}

/// Reads what is remembered and starts. The task ends when `life` does, after what was decided is on disk.
pub async fn start(options: Options, life: &Lifecycle) -> Result<Handle, StartError> {
    let id = JournalId::from_bits(shell::random_bits().ok_or(StartError::Random)?);
    let mut journal = options.journal;
    let loaded = tokio::task::spawn_blocking(move || {
        let image = journal.load();
        (journal, image)
    });
    let (journal, image) = loaded.await.map_err(|_| StartError::Random)?;
    let core = crate::core::Core::restore(options.place.clone(), options.world.simulated(), id, image?)?;
    let parts = shell::Parts {
        place: options.place,
        core,
        journal,
        world: options.world,
        hub: options.hub,
        uplink: options.uplink,
        boot: options.boot,
        crash: options.crash,
    };
    Ok(shell::spawn(parts, life))
}
