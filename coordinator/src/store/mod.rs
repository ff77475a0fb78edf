//! The coordinator's record: which trees there are, which runs there were and what happened in them, and everything that
//! the core must not forget (it is the core's [`Journal`]).
//!
//! One SQLite file in WAL mode, readable by its owner alone. Two threads own a connection each: `writer` does everything
//! that changes it, one transaction at a time, `reader` answers questions meanwhile. Both take jobs over a bounded
//! channel; the async side waits for their answers. [`Record`] is the seam for another kind of store.
//!
//! [`Journal`]: homestak_node::journal::Journal

mod error;
mod events;
mod journal;
mod ledger;
mod rows;
mod runs;
mod schema;
mod seal;
mod worker;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homestak_node::journal::Journal;
use homestak_protocol::event::{Drift, Event, Presence};
use homestak_protocol::ids::{Generation, Position, RunId, SiteId};
use homestak_protocol::name::{HostName, ManifestName};
use rusqlite::{Connection, OpenFlags};

pub use self::error::StoreError;
pub use self::ledger::Shown;
pub use self::rows::{GivenUp, PlannedNode, RunFilter, RunRow, RunState, Stage, TreeRow, Verified};
pub use self::seal::SealKey;
use self::worker::Worker;

/// How many runs that are over are kept: a year of three a day. Their events go with them.
const MAX_RUNS: u32 = 1_000;

/// How many events are kept before those of the oldest runs go, whatever [`MAX_RUNS`] says: some 100 MB.
const MAX_EVENTS: u32 = 500_000;

/// How many events are read at once; a follower of a run of any size needs no more memory than this.
pub const EVENTS_PAGE: u32 = 1_000;

/// What runs, trees and events need of a store. Every call that changes something returns once it is on disk.
pub trait Record: Clone + Send + Sync + 'static {
    /// The site's id, drawn when the store was made.
    fn site(&self) -> SiteId;

    /// The core's journal. Taken once.
    fn journal(&self) -> Box<dyn Journal>;

    /// Puts a run on record and, where it has a new plan for its tree, the tree, in one step.
    fn begin(&self, run: RunRow, tree: Option<TreeRow>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes back a run that nobody was told of, and puts its tree's former plan back.
    fn take_back(
        &self,
        run: RunId,
        host: HostName,
        manifest: ManifestName,
        former: Option<TreeRow>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes how a run stands; one that is over makes room for those to come.
    fn update(&self, run: RunRow) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One run.
    fn run(&self, id: RunId) -> impl Future<Output = Result<Option<RunRow>, StoreError>> + Send;

    /// Runs, the latest first.
    fn runs(&self, filter: RunFilter) -> impl Future<Output = Result<Vec<RunRow>, StoreError>> + Send;

    /// One tree.
    fn tree(
        &self,
        host: HostName,
        manifest: ManifestName,
    ) -> impl Future<Output = Result<Option<TreeRow>, StoreError>> + Send;

    /// All trees, by host, then manifest.
    fn trees(&self) -> impl Future<Output = Result<Vec<TreeRow>, StoreError>> + Send;

    /// Puts a tree on record that no run of ours has made.
    fn put_tree(&self, tree: TreeRow) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Drops a tree.
    fn drop_tree(&self, host: HostName, manifest: ManifestName) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Events of a run after a position, in the order in which they came, at most [`EVENTS_PAGE`].
    fn events(
        &self,
        run: RunId,
        after: Position,
    ) -> impl Future<Output = Result<Vec<(Position, Event)>, StoreError>> + Send;

    /// Writes the last word on an agent.
    fn put_presence(&self, presence: Presence) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Drops what is known of agents at and below a place.
    fn drop_presences(&self, place: String) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The last word on every agent.
    fn presences(&self) -> impl Future<Output = Result<Vec<Presence>, StoreError>> + Send;

    /// The last word on every node that is not what its spec says, and the generation that it was found of.
    fn drifts(&self) -> impl Future<Output = Result<Vec<(Generation, Drift)>, StoreError>> + Send;

    /// Writes a consistent copy to a new file of mode 0600.
    fn copy(&self, file: PathBuf) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The store in a file.
#[derive(Clone)]
pub struct Store {
    writer: Worker,
    reader: Worker,
    key: SealKey,
    path: Arc<Path>,
    site: SiteId,
}

impl Store {
    /// Opens the store, or makes it, with a site id drawn from `random`. One whose schema is newer than this program is
    /// refused and left as it is.
    pub fn open(path: &Path, key: SealKey, random: u128) -> Result<Self, StoreError> {
        let connect = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags).map_err(|source| StoreError::from_sqlite(path, source))
        };
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| StoreError::Io { path: path.into(), source })?;
        let mut writer = connect()?;
        let site = schema::prepare(&mut writer, random).map_err(|why| why.at(path))?;
        let reader = connect()?;
        schema::tune(&reader).map_err(|why| why.at(path))?;
        Ok(Self {
            writer: Worker::start("store-writer", writer, path)?,
            reader: Worker::start("store-reader", reader, path)?,
            key,
            path: path.into(),
            site,
        })
    }
}

/// The ledger of tokens.
impl Store {
    /// Writes how a token stands. One that is used up stays so.
    pub async fn put_shown(&self, shown: Shown, at_ms: u64) -> Result<(), StoreError> {
        self.writer.transact(move |tx| ledger::put(tx, &shown, at_ms)).await
    }

    /// Every token that counts once and was shown.
    pub async fn shown(&self) -> Result<Vec<Shown>, StoreError> {
        self.reader.call(|db| ledger::shown(db)).await
    }

    /// Revokes every token of this node that was minted up to then, in seconds since 1970.
    pub async fn revoke_tokens(&self, node: String, upto_s: u64) -> Result<(), StoreError> {
        self.writer.transact(move |tx| ledger::revoke(tx, &node, upto_s)).await
    }

    /// Whose tokens were revoked, and up to when.
    pub async fn revocations(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.reader.call(|db| ledger::revocations(db)).await
    }
}

impl Record for Store {
    fn site(&self) -> SiteId {
        self.site
    }

    fn journal(&self) -> Box<dyn Journal> {
        Box::new(journal::StoreJournal::new(self.writer.clone(), self.key.clone(), self.path.clone()))
    }

    async fn begin(&self, run: RunRow, tree: Option<TreeRow>) -> Result<(), StoreError> {
        self.writer.transact(move |tx| runs::begin(tx, &run, tree.as_ref())).await
    }

    async fn take_back(
        &self,
        run: RunId,
        host: HostName,
        manifest: ManifestName,
        former: Option<TreeRow>,
    ) -> Result<(), StoreError> {
        self.writer.transact(move |tx| runs::take_back(tx, run, &host, &manifest, former.as_ref())).await
    }

    async fn update(&self, run: RunRow) -> Result<(), StoreError> {
        self.writer
            .transact(move |tx| {
                runs::put(tx, &run)?;
                if run.state == RunState::Running { Ok(()) } else { runs::make_room(tx, MAX_RUNS, MAX_EVENTS) }
            })
            .await
    }

    async fn run(&self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        self.reader.call(move |db| runs::one(db, id)).await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, StoreError> {
        self.reader.call(move |db| runs::list(db, &filter)).await
    }

    async fn tree(&self, host: HostName, manifest: ManifestName) -> Result<Option<TreeRow>, StoreError> {
        self.reader.call(move |db| runs::tree(db, &host, &manifest)).await
    }

    async fn trees(&self) -> Result<Vec<TreeRow>, StoreError> {
        self.reader.call(|db| runs::trees(db)).await
    }

    async fn put_tree(&self, tree: TreeRow) -> Result<(), StoreError> {
        self.writer.transact(move |tx| runs::put_tree(tx, &tree)).await
    }

    async fn drop_tree(&self, host: HostName, manifest: ManifestName) -> Result<(), StoreError> {
        self.writer.transact(move |tx| runs::drop_tree(tx, &host, &manifest)).await
    }

    async fn events(&self, run: RunId, after: Position) -> Result<Vec<(Position, Event)>, StoreError> {
        self.reader.call(move |db| events::page(db, run, after, EVENTS_PAGE)).await
    }

    async fn put_presence(&self, presence: Presence) -> Result<(), StoreError> {
        self.writer.transact(move |tx| events::put_presence(tx, &presence)).await
    }

    async fn drop_presences(&self, place: String) -> Result<(), StoreError> {
        self.writer.transact(move |tx| events::drop_presences(tx, &place)).await
    }

    async fn presences(&self) -> Result<Vec<Presence>, StoreError> {
        self.reader.call(|db| events::presences(db)).await
    }

    async fn drifts(&self) -> Result<Vec<(Generation, Drift)>, StoreError> {
        self.reader.call(|db| events::drifts(db)).await
    }

    async fn copy(&self, file: PathBuf) -> Result<(), StoreError> {
        // SQLite would make it readable by others.
        let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&file);
        made.map_err(|source| StoreError::Io { path: file.clone(), source })?;
        self.reader.call(move |db| schema::copy(db, &file)).await
    }
}

#[cfg(test)]
mod tests;
