//! The state folder: one process at a time, closed to everybody else, and where in it things lie.
//!
//! Beside what agents keep there (`agents/local` is the one of `local`): `coord.lock`, `coord.sock`, `coord.pid`,
//! `coord.log`, and the folder `coord` with what must not be lost: `store.db`, `signing.key`, `port` and `ca`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use homestak_node::trust::files::{private_folder, read_private, write_private};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::token::SigningKey;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::internal;
use crate::api::{Exit, Refusal};
use crate::client::{PID, SOCKET};
use crate::lower::random;
use crate::runs::refuse;

/// Held by the daemon.
pub(super) const LOCK: &str = "coord.lock";
/// Agents that the daemon looks after.
const AGENTS: &str = "agents";
/// Copies of repositories that are served.
const REPOS: &str = "repos";
/// Agents for machines of other architectures.
const PROGRAMS: &str = "programs";
/// What must not be lost.
pub(super) const KEPT: &str = "coord";
/// What tokens are signed with, as 64 hex digits.
pub(super) const SIGNING_KEY: &str = "signing.key";
/// The port that was picked.
pub(super) const PORT: &str = "port";
/// The store.
pub(super) const STORE: &str = "store.db";
/// The CA.
pub(super) const CA: &str = "ca";

/// How long a daemon that has just ended may still hold the lock: the kernel closes a dead process's files one by one.
const LOCK_WAIT: Duration = Duration::from_millis(300);

/// A state folder that this process holds.
pub(super) struct Folder {
    path: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

impl Folder {
    /// Makes the folder where there is none, closes it to others, and takes its lock.
    pub(super) async fn take(path: &Path) -> Result<Self, Refusal> {
        check(path)?;
        private_folder(path).map_err(|error| internal("the state folder cannot be used", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(|error| internal("the state folder's lock cannot be opened", &error))?;
        let lock = locked(lock).await.ok_or_else(|| in_use(path))?;
        for inner in [KEPT, AGENTS] {
            private_folder(&path.join(inner)).map_err(|error| internal("the state folder cannot be used", &error))?;
        }
        Ok(Self { path: path.into(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.path.join(KEPT).join(name)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.kept(STORE)
    }

    /// Where copies of repositories that are served are.
    pub(super) fn repos(&self) -> PathBuf {
        self.path.join(REPOS)
    }

    /// Where the operator may put agents for machines of other architectures.
    pub(super) fn programs(&self) -> PathBuf {
        self.path.join(PROGRAMS)
    }

    /// Where the agent of `local` has everything of its own.
    pub(super) fn local_agent(&self) -> PathBuf {
        self.path.join(AGENTS).join("local")
    }

    /// What tokens are signed with; drawn where there is none.
    pub(super) fn signing_key(&self) -> Result<SigningKey, Refusal> {
        let file = self.kept(SIGNING_KEY);
        let unusable = |why: &dyn std::error::Error| internal(&format!("{} cannot be used", file.display()), why);
        if let Some(bytes) = read_private(&file).map_err(|error| unusable(&error))? {
            let text = std::str::from_utf8(&bytes).map_err(|error| unusable(&error))?;
            return SigningKey::parse_hex(text.trim()).map_err(|error| unusable(&error));
        }
        let bytes: [u8; 32] = random().map_err(|fault| refuse(&fault))?;
        let mut text = String::with_capacity(2 * bytes.len() + 1);
        bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text.push('\n');
        write_private(&file, text.as_bytes()).map_err(|error| unusable(&error))?;
        Ok(SigningKey::from_bytes(bytes))
    }

    /// Removes everything that looks like state, from a folder that was empty before.
    pub(super) fn clear(&self) {
        for inner in [KEPT, AGENTS] {
            if let Err(error) = fs::remove_dir_all(self.path.join(inner)) {
                tracing::warn!(%error, inner, "a folder cannot be removed");
            }
        }
    }

    /// Writes down which process the daemon is.
    pub(super) fn write_pid(&self) -> Result<(), Refusal> {
        let pid = format!("{}\n", std::process::id());
        write_private(&self.path.join(PID), pid.as_bytes())
            .map_err(|error| internal("the pid file cannot be written", &error))
    }

    pub(super) fn remove_pid(&self) {
        remove(&self.path.join(PID));
    }

    pub(super) fn remove_socket(&self) {
        remove(&self.path.join(SOCKET));
    }
}

/// Removes a file that may be gone.
pub(super) fn remove(file: &Path) {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), %error, "a file cannot be removed");
        }
        _ => {}
    }
}

/// Waits for the lock on a thread that may be left behind: it ends with the process.
async fn locked(lock: File) -> Option<File> {
    let (got, waiting) = oneshot::channel();
    thread::spawn(move || {
        let taken = flock(&lock, FlockOperation::LockExclusive).is_ok();
        let _ = got.send(taken.then_some(lock));
    });
    timeout(LOCK_WAIT, waiting).await.ok()?.ok()?
}

fn in_use(path: &Path) -> Refusal {
    let by = fs::read_to_string(path.join(PID)).ok().map(|pid| format!(" by process {}", pid.trim()));
    let message = format!("the state folder {} is in use{}", path.display(), by.unwrap_or_default());
    let hint = "use that daemon, end it with `homestak-coord server stop`, or choose another folder with --state-dir";
    Refusal::new(Exit::Unreachable, &Fault::new(Code::Busy, message).hint(hint))
}

/// A folder that others have a use for is not taken over and closed to them.
fn check(path: &Path) -> Result<(), Refusal> {
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    let ours = meta.uid() == rustix::process::geteuid().as_raw();
    let closed = meta.mode() & 0o077 == 0;
    let empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let used = || [LOCK, "lock", KEPT].iter().any(|name| path.join(name).exists());
    if ours && (closed || used() || empty()) {
        return Ok(());
    }
    let why = if ours { "holds other things and is open to others" } else { "belongs to another user" };
    let message = format!("{} cannot be the state folder: it {why}", path.display());
    let hint = "choose a folder of your own with --state-dir; one that does not exist is made";
    Err(Refusal::new(Exit::Unreachable, &Fault::new(Code::Conflict, message).hint(hint)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_state_folder_has_one_daemon_and_is_closed_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let first = Folder::take(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        first.write_pid().unwrap();
        let second = Folder::take(&path).await.err().unwrap();
        assert_eq!(second.exit, Exit::Unreachable);
        assert!(second.error.message.contains(&std::process::id().to_string()), "{}", second.error.message);
        drop(first);
        Folder::take(&path).await.unwrap();
    }

    #[tokio::test]
    async fn somebody_elses_folder_is_not_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("documents");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("letter"), "dear").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Folder::take(&path).await.is_err());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[tokio::test]
    async fn a_signing_key_is_drawn_once() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::take(parent.path()).await.unwrap();
        folder.signing_key().unwrap();
        let file = folder.kept(SIGNING_KEY);
        let first = fs::read(&file).unwrap();
        assert_eq!((first.len(), fs::metadata(&file).unwrap().permissions().mode() & 0o777), (65, 0o600));
        folder.signing_key().unwrap();
        assert_eq!(fs::read(&file).unwrap(), first);
        fs::write(&file, "short").unwrap();
        assert!(folder.signing_key().is_err());
    }
}
