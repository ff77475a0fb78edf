//! Giving images and container templates to children: from this host's own storages, after bringing them from above where they are not there.
//!
//! A child's question is answered soon. What takes longer (bringing it, or reading all of it for its digest) goes on in a
//! task of its own that holds the image's gate; until it has ended a child is told to ask again.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use homestak_node::https::FileReader;
use homestak_node::source::{Answering, Found, Image, Shelf, Stock};
use homestak_node::world::Task;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Part;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{Host, Pve};

/// How long a child waits for an answer. It waits a little longer than that.
const ANSWER: Duration = Duration::from_secs(8);
/// Bytes that are read at once for a digest.
const PIECE: usize = 1024 * 1024;

/// Digests of files, for as long as they look the same.
#[derive(Default)]
pub(super) struct Digests(Mutex<BTreeMap<PathBuf, Digest>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest {
    changed: SystemTime,
    length: u64,
    sha256: [u8; 32],
}

/// An image that can be given.
struct Ready {
    file: Arc<File>,
    name: String,
    digest: Digest,
}

impl Shelf for Pve {
    fn give(&self, stock: Stock, have: Vec<Part>) -> Answering<'_> {
        Box::pin(async move {
            let on_its_way = || {
                let text = format!("the {stock} is on its way here, or is being read");
                Fault { retryable: true, ..Fault::new(Code::Busy, text) }
            };
            let gate = timeout(ANSWER, self.host.gates.of(&stock).lock_owned()).await.map_err(|_| on_its_way())?;
            let (host, wanted) = (Arc::clone(&self.host), stock.clone());
            let preparing = self.host.life.tracker.spawn(async move {
                let _gate = gate;
                let cancel = host.life.ending.child_token();
                let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
                tokio::select! {
                    () = cancel.cancelled() => Err(Fault::new(Code::Unreachable, "the agent is shutting down")),
                    ready = host.ready(&wanted, &task) => ready,
                }
            });
            let ready = timeout(ANSWER, preparing).await.map_err(|_| on_its_way())?;
            let Ready { file, name, digest } =
                ready.map_err(|error| Fault::new(Code::Internal, error.to_string()))??;
            let Digest { length, sha256, .. } = digest;
            let has = have.iter().find(|part| part.sha256 == sha256 && part.length <= length);
            let from = has.map(|part| part.length).unwrap_or_default();
            tracing::info!(file = name, from, length, "giving an image to a child");
            let bytes = Box::new(FileReader::from(file, from, length));
            Ok(Found::Image(Image { file: name, length, sha256, from, bytes }))
        })
    }
}

impl Host {
    /// A file and its digest, brought from above if it is not here.
    async fn ready(&self, stock: &Stock, task: &Task) -> Result<Ready, Fault> {
        let volid = match self.find(stock).await? {
            Some(volid) => volid,
            None if self.bring_from_parent(stock, task).await? => {
                self.find(stock).await?.ok_or_else(|| stock.absent())?
            }
            None => return Err(stock.absent()),
        };
        let path = self.api.volume_path(&self.settings.node(), &volid).await;
        let path = PathBuf::from(path.map_err(|error| error.fault(Code::Provision))?);
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let unreadable = |why: String| Fault::new(Code::Storage, format!("{volid} cannot be read: {why}"));
        let known = self.digests.0.lock().unwrap_or_else(PoisonError::into_inner).get(&path).copied();
        let at = path.clone();
        let read = tokio::task::spawn_blocking(move || read(&at, known)).await;
        let (file, digest) =
            read.map_err(|error| unreadable(error.to_string()))?.map_err(|e| unreadable(e.to_string()))?;
        self.digests.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path, digest);
        Ok(Ready { file: Arc::new(file), name: file_name, digest })
    }
}

/// Opens a file, and reads it unless it looks as it did.
fn read(path: &Path, known: Option<Digest>) -> std::io::Result<(File, Digest)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let (changed, length) = (about.modified()?, about.len());
    if let Some(known) = known.filter(|known| known.changed == changed && known.length == length) {
        return Ok((file, known));
    }
    let (mut digest, mut at, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE]);
    while at < length {
        let read = file.read_at(&mut piece, at)?;
        let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
        digest.update(part);
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    Ok((file, Digest { changed, length: at, sha256: digest.finalize().into() }))
}
