//! Why the store cannot be read or written, in words that say what to do.

use std::path::{Path, PathBuf};

use homestak_node::journal::JournalError;
use homestak_protocol::fault::{Code, Fault};
use rusqlite::ErrorCode;

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk that holds {} is full", .0.display())]
    Full(PathBuf),
    /// The file is not what we wrote.
    #[error("the store {} is damaged: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer program has written it.
    #[error("the store {} was written by a newer version of this program (schema {found}, this one knows {known})", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The file system says no.
    #[error("the store {} cannot be opened", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// SQLite says no.
    #[error("the store {} cannot be used", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
    /// It is being closed.
    #[error("the store is closed")]
    Closed,
}

/// An error of a job on a connection, which does not know its file's name.
#[derive(Debug)]
pub(super) enum Why {
    Sqlite(rusqlite::Error),
    Damaged(String),
    Newer { found: u32, known: u32 },
}

impl From<rusqlite::Error> for Why {
    fn from(error: rusqlite::Error) -> Self {
        Why::Sqlite(error)
    }
}

impl Why {
    /// A row that does not hold what it should.
    pub(super) fn damaged(what: &str, error: impl std::fmt::Display) -> Self {
        Why::Damaged(format!("{what}: {error}"))
    }

    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Why::Sqlite(error) => StoreError::from_sqlite(path, error),
            Why::Damaged(why) => StoreError::Damaged { path: path.into(), why },
            Why::Newer { found, known } => StoreError::Newer { path: path.into(), found, known },
        }
    }
}

impl StoreError {
    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(path.into()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { path: path.into(), why: source.to_string() }
            }
            _ => StoreError::Sqlite { path: path.into(), source },
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            StoreError::Full(_) => {
                "make room; nothing that was acknowledged is lost, and what could not be written was not begun"
            }
            StoreError::Damaged { .. } => {
                "move the state folder away and fill an empty one from a backup: `homestak-coord server restore FILE`, then `server adopt -H HOST`"
            }
            StoreError::Newer { .. } => "use that version, or restore a backup that was taken before it",
            StoreError::Io { .. } | StoreError::Sqlite { .. } => "look at the folder's owner, modes and file system",
            StoreError::Closed => "the daemon is ending; try again",
        }
    }

    /// As it is told to clients: with its causes in one line.
    pub fn fault(&self) -> Fault {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Fault::new(Code::Storage, message).hint(self.hint())
    }
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { path, why } => JournalError::Damaged { what: path.display().to_string(), why },
            other => {
                JournalError::Io { what: "in the store".into(), doing: "written or read", source: Box::new(other) }
            }
        }
    }
}
