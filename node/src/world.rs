//! What a process asks of the machine that it runs on: machines for its children, and its own configuration.
//!
//! The agent implements [`World`] over a provider and its configuration engine; the coordinator has no machines and uses
//! [`NoWorld`]. Every call is idempotent ("ensure": look first, adopt what is ours, make what is missing, refuse what is
//! there but foreign), may be cancelled, and is made again after a crash.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use homestak_protocol::event::Facts;
use homestak_protocol::extras::MachineExtras;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Incarnation, RunId, Vmid};
use homestak_protocol::message::{Differing, PveHost, Source, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::{CloudInit, Configuration, Machine, Own};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::waiting::Layer;

/// A boxed future, so that a [`World`] can be a trait object.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Where a call says how far it has come: one line, the latest word counts.
pub type ProgressSink = Arc<dyn Fn(String) + Send + Sync>;

/// A call's cancellation and progress. A cancelled call returns soon, with [`Code::Cancelled`], and leaves only what a
/// later call finds and adopts.
#[derive(Clone)]
pub struct Task {
    /// Set when the result is no longer wanted.
    pub cancel: CancellationToken,
    /// Takes progress.
    pub progress: ProgressSink,
}

/// The machine that must exist and run.
#[derive(Debug, Clone)]
pub struct Ensure {
    /// The tree.
    pub tree: TreeId,
    /// The node; site, tree and path make a machine ours.
    pub path: NodePath,
    /// The life that it is to have. A machine of ours with another one is adopted: it gets this one, and `boot` anew.
    pub incarnation: Incarnation,
    /// The run, for information.
    pub run: RunId,
    /// What it is to be.
    pub machine: Machine,
    /// What its first boot is told.
    pub cloud_init: CloudInit,
    /// What its agent needs to join.
    pub boot: Boot,
    /// What more there is to say of it.
    pub extras: MachineExtras,
}

/// What a machine's agent needs to join its parent.
#[derive(Debug, Clone)]
pub struct Boot {
    /// `HOMESTAK_SERVER`: every address and name of the parent, as `host:port`.
    pub servers: Vec<String>,
    /// `HOMESTAK_CA`: `sha256:<hex>` of the parent's CA.
    pub ca: String,
    /// That CA's certificate, PEM, where it is known: an agent that is in no image is fetched from a server under it.
    pub ca_pem: Option<String>,
    /// `HOMESTAK_TOKEN`.
    pub token: Secret,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// What had to be done.
    pub found: Found,
    /// Whether the life that it has now began when it was adopted, and not when it was made: the same answer for as long
    /// as it has this life, so that whoever missed the first one knows whether the machine was there before.
    pub adopted: bool,
    /// Its id on this host.
    pub vmid: Option<Vmid>,
    /// Its address, where it is known before its agent joins.
    pub ip: Option<IpAddr>,
}

/// What [`World::ensure`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing; it was made.
    Created,
    /// Ours, of another life; it was given this one.
    Adopted,
    /// Ours, and it was changed in place.
    Updated,
    /// Just as it should be (or stopped, and started again).
    Unchanged,
}

/// The machine that must no longer exist.
#[derive(Debug, Clone)]
pub struct Remove {
    /// The tree.
    pub tree: TreeId,
    /// The node.
    pub path: NodePath,
    /// Its id, where it is known.
    pub vmid: Option<Vmid>,
    /// The life that it must have been made with to be removed. Any, where none is given.
    pub only: Option<Incarnation>,
}

/// A machine of ours, as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The node.
    pub path: NodePath,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its id on this host.
    pub vmid: Option<Vmid>,
    /// Whether it runs.
    pub running: bool,
}

/// A machine whose agent has not joined yet, as it looks from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// What it waits for.
    pub layer: Layer,
    /// What there is to say about that.
    pub text: String,
    /// What to do about it, where it does not look as if it would pass.
    pub hint: Option<String>,
    /// An address that it has.
    pub ip: Option<IpAddr>,
}

/// What configuring came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Configured {
    /// Whether anything was changed.
    pub changed: bool,
}

/// The machine that this process runs on, and those that it can make.
pub trait World: Send + Sync + 'static {
    /// Makes sure that the machine exists, is ours, has this life and runs. Waits for its start, not for its agent.
    fn ensure(&self, ask: Ensure, task: Task) -> Work<'_, Ensured>;

    /// Makes sure that the machine no longer exists, with everything inside it. Nothing there is success; something
    /// there that is not ours is left alone, and is success too; one of ours that was not made with the life
    /// asked for is left alone, and a [`Code::Conflict`].
    fn remove(&self, ask: Remove, task: Task) -> Work<'_, ()>;

    /// The machines of ours that there are, of one tree.
    fn owned(&self, _: TreeId, _: Task) -> Work<'_, Vec<Owned>> {
        no_machines()
    }

    /// The machines of ours that there are, of any tree of any site.
    fn inventory(&self, _: Task) -> Work<'_, Vec<(TreeId, Owned)>> {
        no_machines()
    }

    /// Where these images are on this host, in the order in which they are asked for.
    fn sources(&self, images: Vec<SiteName>, _: Task) -> Work<'_, Vec<Source>> {
        Box::pin(async move { Ok(images.into_iter().map(|_| Source::Absent).collect()) })
    }

    /// How machines of a tree are not as wanted; those that are, or are not there, are left out.
    fn compare(&self, _: TreeId, _: Vec<Wanted>, _: Task) -> Work<'_, Vec<Differing>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Looks what a machine waits for that has been started `since` a while and whose agent has not joined. None where
    /// there is nothing to see.
    fn glance(&self, _tree: TreeId, _path: NodePath, _since: Instant, _: Task) -> Work<'_, Option<Glance>> {
        Box::pin(async { Ok(None) })
    }

    /// What this machine is as a host, for whoever would use its API.
    fn describe(&self, _: Task) -> Work<'_, PveHost> {
        Box::pin(async { Err(Fault::new(Code::NotFound, "this machine is no Proxmox VE host")) })
    }

    /// Turns this machine into a host that can carry machines.
    fn become_host(&self, path: NodePath, own: Own, task: Task) -> Work<'_, ()>;

    /// Applies this machine's configuration.
    fn configure(&self, path: NodePath, configuration: Configuration, task: Task) -> Work<'_, Configured>;

    /// Checks that this machine is what its order says: facts and configuration.
    fn verify(&self, path: NodePath, own: Own, task: Task) -> Work<'_, ()>;

    /// What is known of this machine now.
    fn facts(&self) -> Facts;

    /// Whether nothing real is made or installed here.
    fn simulated(&self) -> bool;
}

/// The world of a process that has no machines.
pub struct NoWorld;

fn no_machines<T>() -> Work<'static, T> {
    Box::pin(async { Err(Fault::new(Code::Protocol, "this process has no machines")) })
}

impl World for NoWorld {
    fn ensure(&self, _: Ensure, _: Task) -> Work<'_, Ensured> {
        no_machines()
    }

    fn remove(&self, _: Remove, _: Task) -> Work<'_, ()> {
        no_machines()
    }

    fn become_host(&self, _: NodePath, _: Own, _: Task) -> Work<'_, ()> {
        no_machines()
    }

    fn configure(&self, _: NodePath, _: Configuration, _: Task) -> Work<'_, Configured> {
        no_machines()
    }

    fn verify(&self, _: NodePath, _: Own, _: Task) -> Work<'_, ()> {
        no_machines()
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn simulated(&self) -> bool {
        false
    }
}
