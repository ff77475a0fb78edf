//! The provider `pve`: machines are guests of the Proxmox VE host that the agent runs on, made by its REST API.
//!
//! What is there is what PVE says; our own record of each guest only says what was being done to it, so that a task that is
//! running when we die is found again. A guest is ours by its tag.
//!
//! What must not be left half done goes on in tasks of the agent's life, which hold the guest's gate and its room meanwhile: the
//! call that creates one (`deed`), furnishing a container (`ct`), importing a disk (`disk`). So do room that PVE still uses
//! (`room`), consoles that somebody asks about (`console`) and what is read for a child (`shelf`). Nothing else runs between
//! two calls.
//!
//! - `api`: the calls; `deed`: those that change something.
//! - `task`: waiting for what they begin; `record`: what is on disk before a call.
//! - `owner`, `find`: whose a guest is; `sight`, `console`: how one looks from the outside; `limits`, `room`: how much is done
//!   at once.
//! - `make`, `adopt`, `drift`, `power`: what is done to one; `vm`, `ct`, `image`, `disk`, `snippet`: what it is made
//!   from; `tool`, `rooted`: PVE's own programs, and writing where somebody else is root.
//! - `bring`, `part`: an image that is not there; `shelf`: giving images to children.

mod adopt;
mod api;
mod bring;
mod console;
mod ct;
mod deed;
mod disk;
mod drift;
mod find;
mod image;
mod limits;
mod make;
mod owner;
mod part;
mod power;
mod record;
mod room;
mod rooted;
mod shelf;
mod sight;
mod snippet;
mod task;
mod tool;
mod vm;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use homestak_node::crash::{Plan, Side};
use homestak_node::https::OwnProgram;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::source::Shelf;
use homestak_node::transport::uplink::Fetcher;
use homestak_node::world::{Ensure, Ensured, Task, Work};
use homestak_protocol::event::Facts;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::{Differing, Source, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::sync::OnceCell;

use self::api::{ANSWER, CallError, Guest};
pub(crate) use self::api::{Api, Greeting, token_of};
pub use self::api::{CallError as PveError, Class};
use self::bring::Gates;
use self::console::Consoles;
use self::image::Images;
use self::limits::Limits;
use self::owner::Ownership;
use self::record::Records;
use self::shelf::Digests;
use self::task::{PATIENCE, Undone};
use crate::facts;
use crate::files::{FileError, private_folder};
use crate::host;
use crate::provider::local::inside::Inside;
use crate::provider::{Identity, Owned, Provider, Sight};
use crate::settings::PveSettings;

/// What the provider needs to know.
pub struct Options {
    /// The agent's state folder, whose lock it holds.
    pub state: PathBuf,
    /// The agent's place, for crash points.
    pub place: NodePath,
    /// The host.
    pub settings: PveSettings,
    /// The machine of `local` that this agent runs in, in tests; none elsewhere.
    pub inside: Option<Inside>,
    /// Whom images are asked for that are not here; nobody in tests.
    pub above: Option<Fetcher>,
    /// The agent that new machines get.
    pub program: Arc<OwnProgram>,
    /// What mounts a container's root file system: `pct`, which is part of PVE; a stand-in in tests.
    pub pct: PathBuf,
    /// What imports disks that the API cannot import: `qm`, which is part of PVE; a stand-in in tests.
    pub qm: PathBuf,
    /// Where QEMU has the sockets of serial consoles: `/run/qemu-server`, another folder in tests.
    pub consoles: PathBuf,
    /// Where to die.
    pub crash: Plan,
    /// How long PVE is waited for.
    pub waits: Waits,
}

/// How long PVE is waited for. Tests wait for less than others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// For one answer.
    pub answer: Duration,
    /// For what passes, such as a lock of somebody else, in each step.
    pub patience: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { answer: ANSWER, patience: PATIENCE }
    }
}

/// The provider. Cheap to clone.
#[derive(Clone)]
pub struct Pve {
    host: Arc<Host>,
}

/// The host that carries the machines.
struct Host {
    api: Api,
    settings: PveSettings,
    records: Records,
    limits: Limits,
    images: Images,
    state: PathBuf,
    place: NodePath,
    inside: Option<Inside>,
    crash: Plan,
    patience: Duration,
    above: Option<Fetcher>,
    program: Arc<OwnProgram>,
    pct: PathBuf,
    qm: PathBuf,
    consoles: Consoles,
    gates: Gates,
    digests: Digests,
    /// Set once the storage of snippets is known to take them.
    snippets: OnceCell<()>,
    /// Set once what lives before this one have begun is counted.
    inherited: OnceCell<()>,
    life: Lifecycle,
}

impl Pve {
    /// Takes up what is on record. Asks nobody: PVE may not be there yet.
    pub fn open(options: Options, life: &Lifecycle) -> Result<Self, FileError> {
        let folder = options.state.join("pve");
        private_folder(&folder)?;
        let records = Records::new(folder);
        let limits = Limits::new(options.settings.parallel);
        for record in records.all() {
            limits.take_id(record.vmid, &record.identity().tag());
        }
        let host = Host {
            api: Api::answering_within(options.waits.answer, options.settings.clone(), life),
            settings: options.settings,
            records,
            limits,
            images: Images::default(),
            state: options.state,
            place: options.place,
            inside: options.inside,
            crash: options.crash,
            patience: options.waits.patience,
            above: options.above,
            program: options.program,
            pct: options.pct,
            qm: options.qm,
            consoles: Consoles::new(options.consoles),
            gates: Gates::default(),
            digests: Digests::default(),
            snippets: OnceCell::new(),
            inherited: OnceCell::new(),
            life: life.clone(),
        };
        Ok(Self { host: Arc::new(host) })
    }
}

impl Host {
    fn reach(&self, point: &str, side: Side) {
        self.crash.reach(point, side, &self.place);
    }

    /// The life that a guest says it has.
    async fn life(&self, guest: &Guest) -> Result<Incarnation, Undone> {
        let config = self.api.config(guest).await?;
        Ok(Ownership::of(guest, &config).map_or(Incarnation::from_bits(0), |ours| ours.incarnation))
    }

    /// Gives up as soon as nobody wants the result any more: what was begun is on record. Whether PVE answers is told then.
    async fn unless_cancelled<T>(&self, task: &Task, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let cancelled = |why: &str| Fault::new(Code::Cancelled, why);
        // What is open counts, so it is looked at before it is let go.
        let silence = async {
            task.cancel.cancelled().await;
            self.api.silence()
        };
        tokio::select! {
            biased;
            silence = silence => Err(silence.map_or_else(
                || cancelled("cancelled"),
                |why| cancelled(&why).hint("look whether `pveproxy` and `pvedaemon` are well on that host"),
            )),
            result = work => result,
        }
    }
}

impl Pve {
    async fn owned(&self) -> Result<Vec<Owned>, CallError> {
        let seen = self.host.seen().await?;
        let guests = seen.owned().map(|guest| (guest.clone(), ())).collect();
        let mut owned = Vec::new();
        for (guest, (), config) in self.configured(guests).await? {
            let Some(ours) = Ownership::of(&guest, &config) else {
                tracing::warn!(guest = %guest.noun(), "it has a tag of homestak, but its description does not belong to it");
                continue;
            };
            owned.push(Owned {
                path: ours.identity.path,
                tree: ours.identity.tree,
                incarnation: ours.incarnation,
                adopted: ours.adopted,
                vmid: guest.vmid,
                ip: None,
                running: guest.status == "running",
            });
        }
        owned.sort_by_key(|machine| machine.vmid);
        Ok(owned)
    }
}

impl Provider for Pve {
    fn facts(&self) -> Facts {
        let facts = facts::gather(&self.host.state, self.host.inside.as_ref());
        match self.host.inside {
            Some(_) => facts,
            None => host::facts(facts, &self.host.state),
        }
    }

    fn simulated(&self) -> bool {
        false
    }

    fn ensure_image(&self, _name: SiteName, _task: Task) -> Work<'_, ()> {
        // What a name stands for depends on what is made of it; it is looked for when that is known.
        Box::pin(async { Ok(()) })
    }

    fn ensure_machine(&self, ask: Ensure, task: Task) -> Work<'_, Ensured> {
        Box::pin(async move { self.host.unless_cancelled(&task, self.host.ensure(&ask, &task)).await })
    }

    fn start(&self, machine: Identity, task: Task) -> Work<'_, ()> {
        Box::pin(async move { self.host.unless_cancelled(&task, self.host.start(&machine, &task)).await })
    }

    fn addresses(&self, machine: Identity, task: Task) -> Work<'_, Vec<IpAddr>> {
        Box::pin(async move {
            // One look: whoever waits for the machine hears of its agent's joining as soon as it has an address.
            let look = async {
                let seen = self.host.seen().await.map_err(|error| error.fault(Code::Provision))?;
                let Some(guest) = seen.machine(&machine)? else { return Ok(Vec::new()) };
                Ok(self.host.api.addresses(guest).await.unwrap_or_default())
            };
            self.host.unless_cancelled(&task, look).await
        })
    }

    fn shelf(&self) -> Option<Arc<dyn Shelf>> {
        Some(Arc::new(self.clone()))
    }

    fn sources(&self, images: Vec<SiteName>, task: Task) -> Work<'_, Vec<Source>> {
        Box::pin(async move {
            let look = async {
                let mut sources = Vec::with_capacity(images.len());
                for name in &images {
                    let found = self.host.find_image(name.as_str()).await?;
                    sources.push(found.map_or(Source::Absent, |found| Source::Volume(found.volid)));
                }
                Ok(sources)
            };
            self.host.unless_cancelled(&task, look).await
        })
    }

    fn compare(&self, tree: TreeId, wanted: Vec<Wanted>, task: Task) -> Work<'_, Vec<Differing>> {
        Box::pin(async move { self.host.unless_cancelled(&task, self.compared(tree, wanted)).await })
    }

    fn sight(&self, machine: Identity, task: Task) -> Work<'_, Option<Sight>> {
        Box::pin(async move { self.host.unless_cancelled(&task, self.host.sight(&machine)).await })
    }

    fn stop(&self, machine: Identity, task: Task) -> Work<'_, ()> {
        Box::pin(async move { self.host.unless_cancelled(&task, self.host.stop(&machine, &task)).await })
    }

    fn destroy(&self, machine: Identity, task: Task) -> Work<'_, ()> {
        Box::pin(async move { self.host.unless_cancelled(&task, self.host.destroy(&machine, &task)).await })
    }

    fn list_owned(&self, task: Task) -> Work<'_, Vec<Owned>> {
        Box::pin(async move {
            let listed = async { self.owned().await.map_err(|error| error.fault(Code::Provision)) };
            self.host.unless_cancelled(&task, listed).await
        })
    }
}
