//! Providers: what an agent drives to make machines.
//!
//! Each call is idempotent: it looks first, takes over what is ours, makes what is missing and refuses what is there but
//! foreign. Each gives up soon once it is cancelled, and leaves only what a later call finds. A provider decides nothing
//! about trees; see [`crate::world`].

mod hex;
pub mod local;
pub mod pve;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use homestak_node::source::Shelf;
use homestak_node::world::{Ensure, Ensured, Task, Work};
use homestak_protocol::event::Facts;
use homestak_protocol::ids::{Incarnation, Vmid};
use homestak_protocol::message::{Differing, Source, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::path::{NodePath, TreeId};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Whose a machine is: ours means same site, tree and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The tree, and in it the site.
    pub tree: TreeId,
    /// The node.
    pub path: NodePath,
}

impl Identity {
    /// The tag that marks a machine as ours.
    pub fn tag(&self) -> Tag {
        let digest = self.digest(0);
        let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Tag(format!("homestak-{hex}").into())
    }

    /// SHA-256 over the whole identity; `attempt` gives another one each.
    pub(crate) fn digest(&self, attempt: u32) -> [u8; 32] {
        let mut hash = Sha256::new();
        // No name holds a line break, so the parts cannot run into each other.
        hash.update(format!("{}\n{}\n{}\n{}", self.tree.site, self.tree.host, self.tree.manifest, self.path));
        if attempt > 0 {
            hash.update(format!("\n{attempt}"));
        }
        hash.finalize().into()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the tree {} (site {:.8})", self.path, self.tree, self.tree.site.to_string())
    }
}

/// `homestak-` and twelve hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A machine of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// The node.
    pub path: NodePath,
    /// The tree.
    pub tree: TreeId,
    /// Its life.
    #[serde(skip)]
    pub incarnation: Incarnation,
    /// Whether that life began with its adoption.
    #[serde(skip)]
    pub adopted: bool,
    /// Its id on this host.
    pub vmid: Vmid,
    /// Its address, where it is known.
    pub ip: Option<IpAddr>,
    /// Whether it runs.
    pub running: bool,
}

/// A machine that was started, from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// What it is called on this host, `VM 99011`.
    pub noun: String,
    /// How it is: `running`, `stopped`, `paused`.
    pub power: String,
    /// Whether something inside it answers that comes with its operating system; none where there is no such thing.
    pub answers: Option<bool>,
    /// Its addresses, as that tells them.
    pub addresses: Vec<IpAddr>,
    /// The last complaint that is seen of it from here.
    pub complaint: Option<String>,
}

/// What makes machines.
pub trait Provider: Send + Sync + 'static {
    /// What is known of the host that carries the machines.
    fn facts(&self) -> Facts;

    /// Whether nothing real is made.
    fn simulated(&self) -> bool;

    /// Makes sure that machines can start from this image.
    fn ensure_image(&self, image: SiteName, task: Task) -> Work<'_, ()>;

    /// Makes sure that the machine exists, is ours and has this life. It need not run yet.
    fn ensure_machine(&self, ask: Ensure, task: Task) -> Work<'_, Ensured>;

    /// Makes sure that it runs, and goes on running.
    fn start(&self, machine: Identity, task: Task) -> Work<'_, ()>;

    /// Its addresses, where they are known before its agent joins.
    fn addresses(&self, machine: Identity, task: Task) -> Work<'_, Vec<IpAddr>>;

    /// Where these images are on this host, in the order in which they are asked for.
    fn sources(&self, images: Vec<SiteName>, task: Task) -> Work<'_, Vec<Source>>;

    /// How machines of a tree are not as wanted; those that are, or are not there, are left out.
    fn compare(&self, tree: TreeId, wanted: Vec<Wanted>, task: Task) -> Work<'_, Vec<Differing>>;

    /// What of images can be given to children.
    fn shelf(&self) -> Option<Arc<dyn Shelf>> {
        None
    }

    /// How a machine looks from here whose agent has not joined; none where it is not there.
    fn sight(&self, machine: Identity, task: Task) -> Work<'_, Option<Sight>>;

    /// Makes sure that it does not run, and stays so.
    fn stop(&self, machine: Identity, task: Task) -> Work<'_, ()>;

    /// Makes sure that it no longer exists, with everything inside it.
    fn destroy(&self, machine: Identity, task: Task) -> Work<'_, ()>;

    /// Every machine of ours on this host, of any tree.
    fn list_owned(&self, task: Task) -> Work<'_, Vec<Owned>>;
}
