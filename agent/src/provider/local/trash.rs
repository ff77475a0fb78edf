//! Destroying: a folder is renamed out of the way, then every process in it ends, then it goes. A crash in between
//! leaves the renamed folder, and the next start goes on with it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use homestak_node::process::ProcessMark;
use tokio::task::JoinSet;

use super::image::entries;
use super::record::{Record, state_path};
use crate::provider::Tag;
use crate::state;

/// How long an agent may take to end when it is asked to, before it is killed. Its machine is off or gone after that.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// How folders that are on their way out begin.
pub(super) const TRASH: &str = ".trash-";
/// How folders that are not ready yet begin.
pub(super) const DRAFT: &str = ".new-";

/// A name for the folder of `tag` on its way out; no two are the same.
pub(super) fn trash_name(tag: &Tag) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{TRASH}{tag}-{:x}", now.as_nanos())
}

/// What of `tag` is on its way out.
pub(super) fn trash_of(machines: &Path, tag: &Tag) -> Vec<PathBuf> {
    let begins = format!("{TRASH}{tag}-");
    let found = entries(machines).unwrap_or_default().into_iter();
    found.filter(|(name, _)| name.starts_with(&begins)).map(|(_, path)| path).collect()
}

/// Ends the machine in `folder` and every machine inside it: first its own agent, so that it starts no others again,
/// then those below, all at once.
pub(super) fn end_machines(folder: PathBuf) -> Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>> {
    Box::pin(async move {
        for mark in processes(&folder) {
            if let Some(held) = mark.hold()? {
                held.end(GRACE).await?;
                held.collect();
            }
        }
        let mut below = JoinSet::new();
        for (_, nested) in entries(&state_path(&folder).join("machines")).unwrap_or_default() {
            below.spawn(end_machines(nested));
        }
        while let Some(ended) = below.join_next().await {
            ended.map_err(std::io::Error::other)??;
        }
        Ok(())
    })
}

/// Who may be running the machine in `folder`: the process on record, and the one that has its state folder.
pub(super) fn processes(folder: &Path) -> Vec<ProcessMark> {
    let recorded = Record::read(folder).ok().flatten().and_then(|record| record.process);
    let mut found: Vec<ProcessMark> = recorded.into_iter().chain(state::holder(&state_path(folder))).collect();
    found.dedup();
    found
}
