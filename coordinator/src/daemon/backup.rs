//! Backups: everything that must not be lost, in one file of mode 0600: a tar archive of the folder `coord`, with the store
//! as a consistent copy and, first, a note that says what it is.
//!
//! Not in it: the agent of `local` and its machines, which are a host's own, and logs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use homestak_node::trust::ca::Ca;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::files::{private_folder, write_private};
use homestak_protocol::fault::{Code, Fault};
use serde::{Deserialize, Serialize};

use super::folder::{CA, Folder, KEPT, LOCK, PORT, SIGNING_KEY, STORE, remove};
use super::{Daemon, internal};
use crate::api::{Exit, Refusal};
use crate::documents::BackupDocument;
use crate::lower::random;
use crate::runs::{clock, refuse};
use crate::settings::Settings;
use crate::store::{Record as _, SealKey, Store};

/// The note's name in the archive.
const NOTE: &str = "backup.json";

/// The form of backups that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// Everything else in it, as named in the folder `coord`, and whether a backup may lack it.
const MEMBERS: [(&str, bool); 5] =
    [(STORE, false), (SIGNING_KEY, false), ("ca/key.der", false), ("ca/ca.der", false), (PORT, true)];

/// The largest member: a store of half a million events has 200 MB.
const MAX_MEMBER: u64 = 4 * 1024 * 1024 * 1024;

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    program: String,
    format: u32,
    version: String,
    taken_at: String,
    site: String,
    trees: u32,
}

/// Writes a backup to a new file.
pub(super) async fn write(daemon: &Daemon, file: PathBuf) -> Result<BackupDocument, Refusal> {
    // Before anything is copied: a file that is there is somebody's.
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(|error| {
        let fault = Fault::new(Code::Conflict, format!("the backup cannot be written to {}: {error}", file.display()))
            .hint("name a file that does not exist yet, in a folder that does");
        refuse(&fault)
    })?;
    let kept = daemon.settings.state_dir.join(KEPT);
    let bits: [u8; 8] = random().map_err(|fault| refuse(&fault))?;
    let copy = kept.join(format!("copy-{:016x}.db", u64::from_ne_bytes(bits)));
    let note = Note {
        program: "homestak-coord".into(),
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        taken_at: clock::shown(clock::now_ms()),
        site: daemon.store.site().to_string(),
        trees: daemon.engine.recorded_trees().await.map_err(|fault| refuse(&fault))?,
    };
    let copied = daemon.store.copy(copy.clone()).await.map_err(|error| Refusal::new(Exit::Failed, &error.fault()));
    let (from, to) = (copy.clone(), file.clone());
    let packed = match copied {
        Ok(()) => {
            let pack = move || pack(&kept, &from, &note, &mut target).map(|bytes| (note, bytes));
            match tokio::task::spawn_blocking(pack).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(error)) => Err(internal("the backup cannot be written", &error)),
                Err(error) => Err(internal("the backup cannot be written", &error)),
            }
        }
        Err(refusal) => Err(refusal),
    };
    remove(&copy);
    match packed {
        Ok((note, bytes)) => {
            tracing::info!(file = %to.display(), bytes, "a backup was taken");
            Ok(document(&to, bytes, note))
        }
        Err(refusal) => {
            // Half a backup is none.
            remove(&to);
            Err(refusal)
        }
    }
}

fn document(file: &Path, bytes: u64, note: Note) -> BackupDocument {
    BackupDocument { file: file.display().to_string(), bytes, taken_at: note.taken_at, trees: note.trees }
}

fn pack(kept: &Path, store: &Path, note: &Note, target: &mut File) -> io::Result<u64> {
    let mut archive = tar::Builder::new(&mut *target);
    append(&mut archive, NOTE, &serde_json::to_vec(note)?)?;
    for (name, optional) in MEMBERS {
        let path = if name == STORE { store.to_owned() } else { kept.join(name) };
        match fs::read(&path) {
            Ok(bytes) => append(&mut archive, name, &bytes)?,
            Err(error) if optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    archive.into_inner()?;
    target.flush()?;
    target.sync_all()?;
    Ok(target.metadata()?.len())
}

fn append(archive: &mut tar::Builder<&mut File>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    header.set_mode(0o600);
    header.set_cksum();
    archive.append_data(&mut header, name, bytes)
}

/// Fills an empty state folder from a backup. No daemon may run there.
pub async fn restore(settings: &Settings, file: &Path) -> Result<BackupDocument, Refusal> {
    must_be_empty(&settings.state_dir)?;
    let source = File::open(file).map_err(|error| unreadable(file, &error))?;
    let folder = Folder::take(&settings.state_dir).await?;
    let result = unpack_into(&folder, file, source);
    if result.is_err() {
        folder.clear();
    }
    result
}

fn must_be_empty(path: &Path) -> Result<(), Refusal> {
    // The lock alone is what a daemon that never came up leaves behind.
    let used = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).find(|name| name != LOCK),
        Err(_) => None,
    };
    let Some(used) = used else { return Ok(()) };
    let message = format!("{} is not empty: it holds {}", path.display(), used.display());
    let hint = "a backup is restored into an empty state folder: end the daemon and move this one away, or choose another with --state-dir";
    Err(Refusal::new(Exit::Configuration, &Fault::new(Code::Conflict, message).hint(hint)))
}

fn unpack_into(folder: &Folder, file: &Path, source: File) -> Result<BackupDocument, Refusal> {
    let bytes = source.metadata().map_err(|error| unreadable(file, &error))?.len();
    private_folder(&folder.kept(CA)).map_err(|error| internal("the state folder cannot be used", &error))?;
    let note = unpack(folder, file, source)?;
    for (name, optional) in MEMBERS {
        if !optional && !folder.kept(name).exists() {
            return Err(damaged(file, &format!("{name} is not in it")));
        }
    }
    // What the daemon would trip over is told now.
    let ca =
        Ca::load_or_create(&folder.kept(CA), Clock::system()).map_err(|error| damaged(file, &error.to_string()))?;
    folder.signing_key()?;
    let key = SealKey::new(&ca.journal_key()).ok_or_else(|| damaged(file, "its key is none"))?;
    let store = Store::open(&folder.store(), key, 0).map_err(|error| damaged(file, &error.to_string()))?;
    store.journal().load().map_err(|error| damaged(file, &error.to_string()))?;
    if store.site().to_string() != note.site {
        return Err(damaged(file, "its store is another site's"));
    }
    Ok(document(file, bytes, note))
}

fn unpack(folder: &Folder, file: &Path, source: File) -> Result<Note, Refusal> {
    let mut archive = tar::Archive::new(source);
    let mut note: Option<Note> = None;
    for entry in archive.entries().map_err(|error| damaged(file, &error.to_string()))? {
        let entry = entry.map_err(|error| damaged(file, &error.to_string()))?;
        let path = entry.path().map_err(|error| damaged(file, &error.to_string()))?.into_owned();
        let name = path.to_str().unwrap_or_default();
        if entry.size() > MAX_MEMBER {
            return Err(damaged(file, &format!("{name} is too large")));
        }
        let mut bytes = Vec::new();
        entry.take(MAX_MEMBER).read_to_end(&mut bytes).map_err(|error| damaged(file, &error.to_string()))?;
        if note.is_none() {
            if name != NOTE {
                return Err(damaged(file, "it is not a backup of homestak-coord"));
            }
            let read: Note = serde_json::from_slice(&bytes).map_err(|error| damaged(file, &error.to_string()))?;
            if read.format > FORMAT {
                let fault =
                    Fault::new(Code::Version, format!("{} was written by version {}", file.display(), read.version))
                        .hint("restore it with that version or a newer one");
                return Err(Refusal::new(Exit::Configuration, &fault));
            }
            note = Some(read);
        } else if let Some((name, _)) = MEMBERS.iter().find(|(member, _)| *member == name) {
            // Only names that we know are written, whatever the archive holds.
            write_private(&folder.kept(name), &bytes)
                .map_err(|error| internal("the backup cannot be unpacked", &error))?;
        }
    }
    note.ok_or_else(|| damaged(file, "it is empty"))
}

fn unreadable(file: &Path, error: &io::Error) -> Refusal {
    let fault = Fault::new(Code::NotFound, format!("the backup {} cannot be read: {error}", file.display()));
    Refusal::new(Exit::Configuration, &fault.hint("name a file that `homestak-coord server backup` has written"))
}

fn damaged(file: &Path, why: &str) -> Refusal {
    let fault = Fault::new(Code::Storage, format!("{} is no usable backup: {why}", file.display()));
    Refusal::new(Exit::Configuration, &fault.hint("name a file that `homestak-coord server backup` has written"))
}
