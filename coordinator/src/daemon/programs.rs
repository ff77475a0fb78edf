//! The agents that the coordinator gives away: those that the operator has put into a folder `agents`, by architecture, and
//! the one beside this program.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homestak_node::https::{ARCH, OwnProgram};
use homestak_node::source::Found;
use homestak_protocol::fault::{Code, Fault};
use tokio::sync::Mutex;

/// The agent's file name.
const AGENT: &str = "homestak-agent";

/// Architectures of which a program is kept open. There are fewer.
const MAX_KNOWN: usize = 16;

/// Where programs are.
pub(super) struct Programs {
    folders: Vec<PathBuf>,
    known: Mutex<Vec<Known>>,
}

struct Known {
    path: PathBuf,
    arch: String,
    /// By which another file at the same path is noticed.
    looks: (u64, u64, i64, i64),
    program: Arc<OwnProgram>,
}

impl Programs {
    /// Those in these folders, each `ARCH` or `ARCH/homestak-agent`, before the one beside this program.
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, known: Mutex::default() }
    }

    /// The agent for machines of this architecture.
    pub(super) async fn open(&self, arch: &str) -> Result<Found, Fault> {
        let missing = || Fault::new(Code::NotFound, format!("there is no agent for {arch}"));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if arch.is_empty() || arch.len() > 32 || !arch.bytes().all(plain) {
            return Err(missing());
        }
        let (path, looks) = self.find(arch).ok_or_else(missing)?;
        let mut known = self.known.lock().await;
        let same = |one: &&Known| one.path == path && one.arch == arch && one.looks == looks;
        let program = match known.iter().find(same) {
            Some(known) => Arc::clone(&known.program),
            None => {
                known.retain(|one| one.path != path);
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                let program = Arc::new(OwnProgram::at(&path, arch));
                known.push(Known { path, arch: arch.to_owned(), looks, program: Arc::clone(&program) });
                program
            }
        };
        drop(known);
        program.open().await
    }

    fn find(&self, arch: &str) -> Option<(PathBuf, (u64, u64, i64, i64))> {
        let given = self.folders.iter().flat_map(|folder| [folder.join(arch).join(AGENT), folder.join(arch)]);
        let beside = (arch == ARCH).then(beside).flatten();
        given.chain(beside).find_map(|path| Some((path.clone(), looks(&path)?)))
    }
}

fn beside() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(AGENT))
}

fn looks(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}
