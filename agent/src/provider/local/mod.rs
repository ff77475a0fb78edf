//! The provider `local`: a machine is an agent process with its own loopback address, state folder and root folder.
//!
//! It outlives its maker's agent as a virtual machine would. Ending its process is a power cut: whoever made it starts it
//! again, in the same folder. Nothing real is made or installed.
//!
//! Tasks: one `keeper` for each machine that should run waits for its process to end and starts it again; each call of the
//! provider runs in a task of its own, so that one that nobody waits for any more still ends in order. All that are about
//! one machine take turns at its gate. Whose id and address is whose is decided under one lock (`claims`); that this
//! process is the only one to decide is what the state folder's lock is for.
//!
//! - `record`: what is known of a machine. - `spawn`: starting one. - `machine`: everything that is done to one.
//! - `sight`: how one looks from the outside. - `trash`: destroying one. - `inside`: a machine as its own agent sees it. - `faults`, `links`: what tests can do to it.

mod claims;
pub mod faults;
mod image;
pub mod inside;
mod keeper;
mod machine;
pub mod record;
mod sight;
mod spawn;
mod trash;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homestak_node::crash::{Plan, Side};
use homestak_node::lifecycle::Lifecycle;
use homestak_node::world::{Ensure, Ensured, Task, Work};
use homestak_protocol::event::Facts;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::{Differing, Source, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::sync::OwnedMutexGuard;

use self::claims::{Claim, Claims};
use self::image::{entries, remove_folder};
use self::inside::Inside;
use self::keeper::Keeper;
use self::record::{Desired, Record};
pub use self::spawn::{Launcher, SPAWN};
use self::trash::{DRAFT, TRASH, end_machines};
use crate::facts;
use crate::files::{FileError, private_folder};
use crate::provider::{Identity, Owned, Provider, Sight, Tag};

/// What the provider needs to know.
pub struct Options {
    /// The agent's state folder, whose lock it holds.
    pub state: PathBuf,
    /// The agent's place, for crash points.
    pub place: NodePath,
    /// How machines are started.
    pub launcher: Launcher,
    /// The machine that this agent itself runs in, if it is one of `local`.
    pub inside: Option<Inside>,
    /// Where to die.
    pub crash: Plan,
}

/// The provider. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    yard: Arc<Yard>,
}

/// Where machines stand.
struct Yard {
    state: PathBuf,
    machines: PathBuf,
    images: PathBuf,
    /// Whoever makes an image holds this meanwhile.
    image_gate: tokio::sync::Mutex<()>,
    place: NodePath,
    launcher: Launcher,
    inside: Option<Inside>,
    crash: Plan,
    life: Lifecycle,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    claims: Claims,
    slots: BTreeMap<Tag, Arc<Slot>>,
}

/// The place of one machine, whether it exists or not.
struct Slot {
    tag: Tag,
    folder: PathBuf,
    /// Whoever does something to the machine holds this meanwhile.
    gate: Arc<tokio::sync::Mutex<Option<Keeper>>>,
}

/// The right to do something to a machine, and whoever keeps it running.
type Gate = OwnedMutexGuard<Option<Keeper>>;

impl Local {
    /// Looks at what is there: machines that should run are kept running from here on, what was being destroyed goes.
    pub fn open(options: Options, life: &Lifecycle) -> Result<Self, FileError> {
        let machines = options.state.join("machines");
        let images = options.state.join("images");
        private_folder(&machines)?;
        private_folder(&images)?;
        let local = Self {
            yard: Arc::new(Yard {
                state: options.state,
                machines,
                images,
                image_gate: tokio::sync::Mutex::default(),
                place: options.place,
                launcher: options.launcher,
                inside: options.inside,
                crash: options.crash,
                life: life.clone(),
                book: Mutex::default(),
            }),
        };
        for (name, path) in entries(&local.yard.machines)? {
            if name.starts_with(DRAFT) {
                remove_folder(&path)?;
            } else if name.starts_with(TRASH) {
                local.yard.life.tracker.spawn(async move {
                    if let Err(error) = clear(path.clone()).await {
                        tracing::warn!(folder = %path.display(), %error, "what was being destroyed is still there");
                    }
                });
            } else {
                local.resume(&name, path);
            }
        }
        Ok(local)
    }

    /// Takes up a machine that was there before this process.
    fn resume(&self, name: &str, folder: PathBuf) {
        let record = match Record::read(&folder) {
            Ok(Some(record)) if record.identity().tag().as_str() == name => record,
            Ok(_) => return tracing::warn!(folder = %folder.display(), "this is no machine of ours; it is left alone"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(folder = %folder.display(), error, "this machine cannot be read; it is left alone");
            }
        };
        let identity = record.identity();
        let claim = Claim { identity: identity.clone(), vmid: record.vmid, ip: record.ip };
        self.yard.book().claims.record(identity.tag(), claim);
        if record.desired == Desired::Running {
            let (yard, slot) = (Arc::clone(&self.yard), self.yard.slot(&identity.tag()));
            self.yard.life.tracker.spawn(async move {
                let gate = Arc::clone(&slot.gate).lock_owned().await;
                if let Err(fault) = machine::start(yard, slot, gate, identity).await {
                    tracing::warn!(path = %record.path, why = %fault.message, "a machine could not be started again");
                }
            });
        }
    }

    /// Does something to one machine, in a task of its own.
    fn operate<T, F>(
        &self,
        identity: &Identity,
        task: Task,
        work: impl FnOnce(Arc<Yard>, Arc<Slot>, Gate) -> F + Send + 'static,
    ) -> Work<'static, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let (yard, slot) = (Arc::clone(&self.yard), self.yard.slot(&identity.tag()));
        let path = identity.path.clone();
        let running = self.yard.life.tracker.spawn(async move {
            let gate = Arc::clone(&slot.gate).lock_owned().await;
            let result = work(Arc::clone(&yard), Arc::clone(&slot), gate).await;
            yard.tidy(slot);
            result
        });
        Box::pin(async move {
            tokio::select! {
                biased;
                () = task.cancel.cancelled() => Err(Fault::new(Code::Cancelled, "cancelled").at(&path)),
                result = running => result.map_err(|error| Fault::new(Code::Internal, error.to_string()).at(&path))?,
            }
        })
    }
}

impl Provider for Local {
    fn facts(&self) -> Facts {
        facts::gather(&self.yard.state, self.yard.inside.as_ref())
    }

    fn simulated(&self) -> bool {
        true
    }

    fn ensure_image(&self, name: SiteName, _task: Task) -> Work<'_, ()> {
        let images = self.yard.images.clone();
        Box::pin(async move {
            let at = name.clone();
            let _gate = self.yard.image_gate.lock().await;
            blocking(move || image::ensure(&images, &name))
                .await?
                .map_err(|error| storage(&format!("the image {at} could not be made"), &error))
        })
    }

    fn ensure_machine(&self, ask: Ensure, task: Task) -> Work<'_, Ensured> {
        let identity = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
        self.operate(&identity, task, |yard, slot, gate| machine::ensure(yard, slot, gate, ask))
    }

    fn start(&self, machine: Identity, task: Task) -> Work<'_, ()> {
        let identity = machine.clone();
        self.operate(&machine, task, |yard, slot, gate| machine::start(yard, slot, gate, identity))
    }

    fn addresses(&self, machine: Identity, task: Task) -> Work<'_, Vec<IpAddr>> {
        let identity = machine.clone();
        self.operate(&machine, task, |_, slot, gate| async move {
            let _gate = gate;
            Ok(machine::look(&slot, &identity)?.map(|record| IpAddr::from(record.ip)).into_iter().collect())
        })
    }

    fn sources(&self, images: Vec<SiteName>, _task: Task) -> Work<'_, Vec<Source>> {
        // Every image is made when it is needed, and nothing of it is real.
        Box::pin(async move { Ok(images.into_iter().map(|_| Source::Simulated).collect()) })
    }

    fn compare(&self, _tree: TreeId, _wanted: Vec<Wanted>, _task: Task) -> Work<'_, Vec<Differing>> {
        // A machine here is what its record says, and nobody else writes that.
        Box::pin(async { Ok(Vec::new()) })
    }

    fn sight(&self, machine: Identity, _task: Task) -> Work<'_, Option<Sight>> {
        let slot = self.yard.slot(&machine.tag());
        Box::pin(async move {
            let folder = slot.folder.clone();
            let looked = blocking(move || sight::look(&folder)).await?;
            looked.map_err(|error| storage("the machine could not be looked at", &error))
        })
    }

    fn stop(&self, machine: Identity, task: Task) -> Work<'_, ()> {
        let identity = machine.clone();
        self.operate(&machine, task, |_, slot, gate| machine::stop(slot, gate, identity))
    }

    fn destroy(&self, machine: Identity, task: Task) -> Work<'_, ()> {
        let identity = machine.clone();
        self.operate(&machine, task, |yard, slot, gate| machine::destroy(yard, slot, gate, identity))
    }

    fn list_owned(&self, _task: Task) -> Work<'_, Vec<Owned>> {
        let machines = self.yard.machines.clone();
        Box::pin(async move {
            let listed = blocking(move || {
                let found = entries(&machines)?.into_iter().filter(|(name, _)| !name.starts_with('.'));
                let owned = found.filter_map(|(name, folder)| {
                    let record = Record::read(&folder).ok().flatten()?;
                    let identity = record.identity();
                    (identity.tag().as_str() == name).then(|| Owned {
                        running: record.running(&folder).is_some(),
                        path: identity.path,
                        tree: identity.tree,
                        incarnation: record.incarnation,
                        adopted: record.adopted,
                        vmid: record.vmid,
                        ip: Some(record.ip.into()),
                    })
                });
                Ok(owned.collect())
            });
            listed.await?.map_err(|error: FileError| storage("the machines here could not be listed", &error))
        })
    }
}

impl Yard {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Whoever panicked with it has changed one entry or none; there is nothing half done in it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, tag: &Tag) -> Arc<Slot> {
        let mut book = self.book();
        let slot = book.slots.entry(tag.clone()).or_insert_with(|| {
            Arc::new(Slot { tag: tag.clone(), folder: self.machines.join(tag.as_str()), gate: Arc::default() })
        });
        Arc::clone(slot)
    }

    /// Drops the place of a machine that is gone, unless somebody else has something to do there.
    fn tidy(&self, slot: Arc<Slot>) {
        let mut book = self.book();
        // Two are the book's and ours. More can only come from the book, which we hold.
        if Arc::strong_count(&slot) == 2 && !slot.folder.exists() {
            book.slots.remove(&slot.tag);
        }
    }

    fn reach(&self, point: &str, side: Side) {
        self.crash.reach(point, side, &self.place);
    }
}

/// Ends and removes what was renamed out of the way.
async fn clear(folder: PathBuf) -> Result<(), Fault> {
    let why = |error: &dyn std::error::Error| {
        storage(&format!("what is left in {} could not be removed", folder.display()), error)
    };
    end_machines(folder.clone()).await.map_err(|error| why(&error))?;
    let path = folder.clone();
    blocking(move || remove_folder(&path)).await?.map_err(|error| why(&error))
}

/// Runs what waits for the disk beside everything else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::new(Code::Internal, error.to_string()))
}

/// The file system says no: that may pass.
fn storage(what: &str, error: &dyn std::error::Error) -> Fault {
    let mut message = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Fault::new(Code::ProvisionTransient, message).hint("look at the free space and the permissions of the state folder")
}
