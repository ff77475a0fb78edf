//! Runs: one verb on one tree, from the question whether it may begin to the document that says what it came to.
//!
//! [`Engine`] is the daemon's half of every verb. A run is on record before the core hears of it, with everything that is
//! needed to go on after a restart: [`Engine::resume`] takes up what was in progress. One task a run (`watch`) gives the
//! core what it is owed, cancels on request or when time is over, and writes the result once the core's root operator has
//! nothing more to do; it hears from the core over its broadcast of updates, and from [`Engine::cancel`] over a watch.
//! One task (`presence`) keeps the last word on every agent, and on what every node waits for (`waiting`). Followers (`follow`) only listen: they may come and go.
//!
//! - `begin`: may it begin, and what is ordered. - `outcome`: what it came to. - `status`: how trees stand. - `log`: events
//!   as lines. - `reach`: the core, as seen from here. - `api`: a host's API, as seen from here.

mod adopt;
mod api;
mod begin;
mod carry;
pub(crate) mod clock;
mod follow;
mod images;
mod log;
mod look;
mod orphans;
mod outcome;
mod plan;
mod preflight;
mod presence;
mod reach;
mod refuse;
mod resolved;
mod status;
mod waiting;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use homestak_node::lifecycle::Lifecycle;
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::RunId;
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::path::TreeId;
use homestak_protocol::token::SigningKey;
use tokio::sync::{broadcast, watch as signal};

pub use self::begin::Begun;
pub use self::reach::Reach;
use self::refuse::not_found;
pub(crate) use self::refuse::refuse;
use crate::lower::{Chance, LimitOverrides};
use crate::site::Site;
use crate::store::{GivenUp, Record, RunFilter};

/// What keeps the agent of a host that this daemon supervises from coming up, by host.
pub type Troubles = BTreeMap<HostName, Fault>;

/// What an engine is made of.
pub struct Parts<R, C> {
    /// The record.
    pub store: R,
    /// The core.
    pub core: C,
    /// The site.
    pub site: Arc<Site>,
    /// What tokens are signed with where the site has no key.
    pub key: SigningKey,
    /// Limits that were set by hand.
    pub limits: LimitOverrides,
    /// Where tasks are tracked.
    pub life: Lifecycle,
    /// What is wrong with supervised hosts.
    pub troubles: signal::Receiver<Troubles>,
}

/// The daemon's half of every verb. Cheap to clone.
pub struct Engine<R, C>(Arc<Shared<R, C>>);

struct Shared<R, C> {
    store: R,
    core: C,
    site: RwLock<Arc<Site>>,
    key: SigningKey,
    limits: LimitOverrides,
    chance: Chance,
    life: Lifecycle,
    troubles: signal::Receiver<Troubles>,
    /// What is being done to nodes that are worked on.
    words: waiting::Words,
    /// Held while a run begins, so that two never begin on one tree.
    beginning: tokio::sync::Mutex<()>,
    live: Mutex<BTreeMap<RunId, Live>>,
    /// Counts runs that began and ended: whoever wants to know whether all is quiet looks again.
    turns: signal::Sender<u64>,
}

/// A run in progress.
struct Live {
    give_up: signal::Sender<Option<GivenUp>>,
    over: signal::Receiver<bool>,
}

impl<R, C> Shared<R, C> {
    fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn signing_keys(&self) -> Result<(SigningKey, Option<SigningKey>), Fault> {
        let site = self.site();
        let current = site.signing_key()?.unwrap_or(&self.key).clone();
        Ok((current, site.previous_signing_key()?.cloned()))
    }
}

impl<R, C> Clone for Engine<R, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Record, C: Reach> Engine<R, C> {
    /// An engine in which nothing is going on yet; see [`Engine::resume`].
    pub fn new(parts: Parts<R, C>) -> Self {
        Self(Arc::new(Shared {
            store: parts.store,
            core: parts.core,
            site: RwLock::new(parts.site),
            key: parts.key,
            limits: parts.limits,
            chance: Chance::Kernel,
            life: parts.life,
            troubles: parts.troubles,
            words: waiting::Words::default(),
            beginning: tokio::sync::Mutex::new(()),
            live: Mutex::new(BTreeMap::new()),
            turns: signal::Sender::new(0),
        }))
    }

    /// Goes on with every run that was in progress, and drops trees that were gone but not yet forgotten.
    pub async fn resume(&self) -> Result<(), Fault> {
        presence::keep(self);
        let running = RunFilter { running: true, ..RunFilter::default() };
        let running = self.store().runs(running).await.map_err(|error| error.fault())?;
        for tree in self.store().trees().await.map_err(|error| error.fault())? {
            let busy = running.iter().any(|run| run.host == tree.host && run.manifest == tree.manifest);
            if !busy {
                self.forget_if_gone(&tree.host, &tree.manifest).await?;
            }
        }
        for run in running {
            tracing::info!(run = %run.id, verb = run.verb.as_str(), tree = %self.tree_id(&run.host, &run.manifest), "the run goes on");
            self.watch(run);
        }
        Ok(())
    }

    /// The site as it is now.
    pub fn site(&self) -> Arc<Site> {
        self.0.site()
    }

    /// What tokens are signed with: the site's key, or the coordinator's own where it has none; and the key before it.
    pub fn signing_keys(&self) -> Result<(SigningKey, Option<SigningKey>), Fault> {
        self.0.signing_keys()
    }

    /// Puts another site in its place; runs in progress keep what they were ordered with.
    pub fn set_site(&self, site: Arc<Site>) {
        *self.0.site.write().unwrap_or_else(PoisonError::into_inner) = site;
    }

    /// Runs in progress.
    pub fn running(&self) -> Vec<RunId> {
        self.live().keys().copied().collect()
    }

    /// Changes whenever a run has begun or ended.
    pub fn turns(&self) -> signal::Receiver<u64> {
        self.0.turns.subscribe()
    }

    /// Whether no run is in progress and no tree on record.
    pub async fn is_idle(&self) -> Result<bool, Fault> {
        Ok(self.running().is_empty() && self.store().trees().await.map_err(|error| error.fault())?.is_empty())
    }

    fn store(&self) -> &R {
        &self.0.store
    }

    fn core(&self) -> &C {
        &self.0.core
    }

    fn live(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, Live>> {
        // What is under the lock is whole at every moment, so a panic elsewhere has not spoilt it.
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_id(&self, host: &HostName, manifest: &ManifestName) -> TreeId {
        TreeId { site: self.store().site(), host: host.clone(), manifest: manifest.clone() }
    }

    /// Drops a tree, if everything in it is gone, from the core's record and then from ours.
    async fn forget_if_gone(&self, host: &HostName, manifest: &ManifestName) -> Result<bool, Fault> {
        let tree = self.tree_id(host, manifest);
        let nodes = self.core().tree(tree.clone()).await?.map(|snapshot| snapshot.nodes).unwrap_or_default();
        if nodes.iter().any(|view| !view.status.is_gone()) {
            return Ok(false);
        }
        self.core().forget(tree).await?;
        let dropped = self.store().drop_tree(host.clone(), manifest.clone()).await;
        dropped.map_err(|error| error.fault())?;
        Ok(true)
    }
}

/// The next update that is worth looking at; a listener that lagged looks as well. False once there will be none.
async fn next_update(
    updates: &mut broadcast::Receiver<homestak_node::runtime::Update>,
    worth: impl Fn(&homestak_node::runtime::Update) -> bool,
) -> bool {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match updates.recv().await {
            Ok(update) if worth(&update) => return true,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}

#[cfg(test)]
mod tests;
