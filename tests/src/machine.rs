//! The machines of a stage, as their provider `local` has them on record: `machine.json` in each one's folder.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::Process;

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its folder.
    pub folder: PathBuf,
    /// Its place.
    pub path: String,
    /// Its life.
    pub incarnation: String,
    /// Its id on its host.
    pub vmid: u64,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its agent's process, as on record.
    pub pid: Option<i32>,
}

impl Machine {
    /// Its agent, if it runs.
    pub fn process(&self) -> Option<Process> {
        Process::of(self.pid?).filter(|process| {
            let folder = self.folder.to_string_lossy();
            process.arguments.iter().any(|argument| argument.contains(&*folder))
        })
    }

    /// Its agent's state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }
}

/// Every machine on record below `folder`, by place.
pub fn below(folder: &Path) -> Vec<Machine> {
    let mut machines: Vec<_> = files_below(folder)
        .into_iter()
        .filter(|file| file.file_name().is_some_and(|name| name == "machine.json"))
        .filter_map(|file| read(&file))
        .collect();
    machines.sort_by(|a, b| a.path.cmp(&b.path));
    machines
}

fn read(file: &Path) -> Option<Machine> {
    // It may be gone by now; what is there is whole.
    let record: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).expect("a record of a machine is JSON");
    Some(Machine {
        folder: file.parent()?.to_owned(),
        path: record["path"].as_str()?.to_owned(),
        incarnation: record["incarnation"].as_str()?.to_owned(),
        vmid: record["vmid"].as_u64()?,
        ip: record["ip"].as_str()?.parse().ok()?,
        pid: record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()),
    })
}

/// Every file and folder below a folder, links not followed. What goes away meanwhile is left out.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
