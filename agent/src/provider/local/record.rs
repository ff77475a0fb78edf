//! `machine.json`: what is known of a machine of `local`, in its folder.
//!
//! ```text
//! <state>/machines/<tag>/machine.json    this record
//!                       /root/           its root file system
//!                       /state/          its agent's state folder, with `agent.yaml`: how it finds its parent
//!                       /log             what its agent writes to stderr
//! ```

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use homestak_node::process::ProcessMark;
use homestak_protocol::ids::{Incarnation, SiteId, Vmid};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::order::Machine;
use homestak_protocol::path::{NodePath, TreeId};
use serde::{Deserialize, Serialize};

use crate::files::{FileError, read_if_there, write_whole};
use crate::provider::{Identity, hex};
use crate::state;

/// What is known of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is: the site,
    #[serde(with = "hex::site")]
    pub site: SiteId,
    /// the host of the tree,
    pub host: HostName,
    /// its manifest,
    pub manifest: ManifestName,
    /// and the node.
    pub path: NodePath,
    /// The life that it has.
    #[serde(with = "hex::incarnation")]
    pub incarnation: Incarnation,
    /// Whether that life began with its adoption.
    #[serde(default)]
    pub adopted: bool,
    /// Its id on this host.
    pub vmid: Vmid,
    /// Its loopback address.
    pub ip: Ipv4Addr,
    /// What it was ordered to be.
    pub machine: Machine,
    /// Whether it should run.
    pub desired: Desired,
    /// Its agent's process, as last seen: `pid`, `start_time`, `boot_id`.
    #[serde(flatten)]
    pub process: Option<ProcessMark>,
}

/// What a machine should be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// Run, and start again if it ends.
    Running,
    /// Nothing.
    Stopped,
}

impl Record {
    /// Whose machine this is.
    pub fn identity(&self) -> Identity {
        let tree = TreeId { site: self.site, host: self.host.clone(), manifest: self.manifest.clone() };
        Identity { tree, path: self.path.clone() }
    }

    /// Reads the record of the machine in `folder`; none where there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, RecordError> {
        let file = record_path(folder);
        let Some(text) = read_if_there(&file)? else { return Ok(None) };
        let record = serde_json::from_str(&text).map_err(|source| RecordError::Damaged { file, source })?;
        Ok(Some(record))
    }

    /// Writes it.
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let file = record_path(folder);
        let mut text = match serde_json::to_vec_pretty(self) {
            Ok(text) => text,
            Err(source) => return Err(RecordError::Damaged { file, source }),
        };
        text.push(b'\n');
        Ok(write_whole(&file, &text)?)
    }

    /// The process that is this machine's agent: the one on record, or, where it was started but not put on record, the
    /// one that has taken its state folder.
    pub fn running(&self, folder: &Path) -> Option<ProcessMark> {
        self.process.clone().filter(ProcessMark::is_alive).or_else(|| state::holder(&state_path(folder)))
    }
}

/// Why there is no record to work with.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a record of ours.
    #[error("{} is no record of a machine", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The record's name in its machine's folder.
pub const RECORD: &str = "machine.json";

/// Where the record of a machine lies.
pub fn record_path(folder: &Path) -> PathBuf {
    folder.join(RECORD)
}

/// Where a machine's agent has its state.
pub fn state_path(folder: &Path) -> PathBuf {
    folder.join("state")
}

/// Where a machine has its root file system.
pub fn root_path(folder: &Path) -> PathBuf {
    folder.join("root")
}

/// Where a machine's agent is told how to find its parent.
pub fn boot_path(folder: &Path) -> PathBuf {
    state_path(folder).join("agent.yaml")
}
