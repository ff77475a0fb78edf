//! A thread that owns a connection and does one job after the other on it.
//!
//! Jobs come over a bounded channel; each answers over a oneshot. The thread ends when the last [`Worker`] is dropped.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, oneshot};

use super::error::{StoreError, Why};

/// How many jobs of the async side may wait: more than there are clients, each of which has one. Past this they wait for
/// room first.
const WAITING: usize = 255;

/// Room in the channel: for those, and for the journal, which has one job at a time and blocks until it is done.
const ROOM: usize = WAITING + 1;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Takes jobs for the thread.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::SyncSender<Job>,
    waiting: Arc<Semaphore>,
    path: Arc<Path>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(name: &str, mut connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(ROOM);
        let body = move || {
            while let Ok(job) = queue.recv() {
                job(&mut connection);
            }
        };
        thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .map_err(|source| StoreError::Io { path: path.into(), source })?;
        Ok(Self { jobs, waiting: Arc::new(Semaphore::new(WAITING)), path: path.into() })
    }

    /// Does a job and waits for what it came to.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, Why> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.waiting.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            drop(place);
            let _ = answer.send(job(connection));
        });
        // Never blocks: whoever has a place finds room.
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?.map_err(|why| why.at(&self.path))
    }

    /// Does a job in a transaction that is on disk when this returns, or has not happened.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Why> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(move |connection| in_transaction(connection, job)).await
    }

    /// The same for a thread that may block.
    pub(super) fn transact_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, Why> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |connection| {
            let _ = answer.send(in_transaction(connection, job));
        });
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        answered.recv().map_err(|_| StoreError::Closed)?.map_err(|why| why.at(&self.path))
    }
}

fn in_transaction<T>(
    connection: &mut Connection,
    job: impl FnOnce(&Transaction<'_>) -> Result<T, Why>,
) -> Result<T, Why> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = job(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
