//! What is being done to a guest, on disk before it is done: `<state>/pve/<tag>.json`.
//!
//! PVE answers a call with the id of a task, or, if the connection or we die first, not at all. What is written here says
//! what to look for afterwards: the guest's id, what was about to be done to it, and the task, once it is known.

use std::path::{Path, PathBuf};

use homestak_protocol::ids::{Incarnation, SiteId, Vmid};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::path::{NodePath, TreeId};
use serde::{Deserialize, Serialize};

use super::api::{GuestKind, Upid};
use crate::files::{FileError, read_if_there, write_whole};
use crate::provider::{Identity, Tag, hex};

/// What is known of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(with = "hex::site")]
    site: SiteId,
    host: HostName,
    manifest: ManifestName,
    /// The node.
    pub(super) path: NodePath,
    /// The life that it has.
    #[serde(with = "hex::incarnation")]
    pub(super) incarnation: Incarnation,
    /// What it is.
    pub(super) kind: GuestKind,
    /// Its id.
    pub(super) vmid: Vmid,
    /// The storage that its disk is made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) storage: Option<String>,
    /// What is being done to it.
    pub(super) step: Option<Step>,
}

/// Something that is being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// What.
    pub(super) deed: Deed,
    /// The task that does it; none until PVE has answered.
    pub(super) task: Option<Upid>,
}

/// What can be done to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Deed {
    Create,
    /// A container's agent is put into it; no task of PVE does that.
    Furnish,
    /// A disk is given to a virtual machine by PVE's own program.
    Import,
    Resize,
    Start,
    Shutdown,
    Stop,
    Destroy,
}

impl Deed {
    /// The crash points around the call, and around the task that it begins.
    pub(super) const fn points(self) -> (&'static str, &'static str) {
        match self {
            Deed::Create => ("pve.create", "pve.create-task"),
            Deed::Furnish => ("pve.furnish", "pve.furnish"),
            Deed::Import => ("pve.import", "pve.import"),
            Deed::Resize => ("pve.resize", "pve.resize-task"),
            Deed::Start => ("pve.start", "pve.start-task"),
            Deed::Shutdown => ("pve.shutdown", "pve.shutdown-task"),
            Deed::Stop => ("pve.stop", "pve.stop-task"),
            Deed::Destroy => ("pve.destroy", "pve.destroy-task"),
        }
    }

    /// As people call it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Deed::Create => "create",
            Deed::Furnish => "furnish",
            Deed::Import => "import",
            Deed::Resize => "resize",
            Deed::Start => "start",
            Deed::Shutdown => "shut down",
            Deed::Stop => "stop",
            Deed::Destroy => "destroy",
        }
    }
}

impl Record {
    pub(super) fn new(identity: &Identity, incarnation: Incarnation, kind: GuestKind, vmid: Vmid) -> Self {
        Self {
            site: identity.tree.site,
            host: identity.tree.host.clone(),
            manifest: identity.tree.manifest.clone(),
            path: identity.path.clone(),
            incarnation,
            kind,
            vmid,
            storage: None,
            step: None,
        }
    }

    /// Whose it is.
    pub(super) fn identity(&self) -> Identity {
        let tree = TreeId { site: self.site, host: self.host.clone(), manifest: self.manifest.clone() };
        Identity { tree, path: self.path.clone() }
    }
}

/// The folder with the records.
#[derive(Debug, Clone)]
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn file(&self, tag: &Tag) -> PathBuf {
        self.0.join(format!("{tag}.json"))
    }

    /// The record of a guest; none where there is none, or it cannot be read: PVE itself knows what is there.
    pub(super) fn read(&self, tag: &Tag) -> Option<Record> {
        read(&self.file(tag))
    }

    /// Writes it.
    pub(super) fn write(&self, record: &Record) -> Result<(), FileError> {
        let file = self.file(&record.identity().tag());
        let text = serde_json::to_vec_pretty(record).map_err(|error| FileError::of(&file, "written")(error.into()))?;
        write_whole(&file, &text)
    }

    /// Forgets a guest.
    pub(super) fn remove(&self, tag: &Tag) -> Result<(), FileError> {
        let file = self.file(tag);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FileError::of(&file, "removed")(error)),
            _ => Ok(()),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Record> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let files =
            entries.map(|entry| entry.path()).filter(|file| file.extension().is_some_and(|kind| kind == "json"));
        files.filter_map(|file| read(&file)).collect()
    }
}

fn read(file: &Path) -> Option<Record> {
    let text = read_if_there(file).ok().flatten()?;
    let record = serde_json::from_str(&text);
    record.inspect_err(|error| tracing::warn!(file = %file.display(), %error, "this is no record of a guest")).ok()
}
