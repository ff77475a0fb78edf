//! A program as an endpoint gives it away: a file whose digest is known, for machines of one architecture.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homestak_protocol::fault::{Code, Fault};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::file::FileReader;
use crate::source::{Found, MAX_PROGRAM, Program};

/// Bytes that are read at once for the digest.
const PIECE: usize = 256 * 1024;

/// The architecture that this program was built for, as `uname -m` says it.
pub const ARCH: &str = std::env::consts::ARCH;

/// A program file.
#[derive(Debug)]
pub struct OwnProgram {
    arch: String,
    path: PathBuf,
    known: OnceCell<Known>,
}

/// The file that was read: it stays the same when another takes its place at the path.
#[derive(Debug)]
struct Known {
    file: Arc<File>,
    length: u64,
    sha256: [u8; 32],
}

impl OwnProgram {
    /// The program that runs, whatever lies at its path by now.
    pub fn running() -> Self {
        Self::at(Path::new("/proc/self/exe"), ARCH)
    }

    /// The program at a path, for this architecture. It is read when it is first asked for.
    pub fn at(path: &Path, arch: &str) -> Self {
        Self { arch: arch.to_owned(), path: path.to_owned(), known: OnceCell::new() }
    }

    /// Whether machines of this architecture can run it.
    pub fn fits(&self, arch: &str) -> bool {
        self.arch == arch
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its SHA-256, 64 hex digits.
    pub async fn digest(&self) -> Result<String, Fault> {
        let known = self.known.get_or_try_init(|| self.know()).await?;
        Ok(known.sha256.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Opens it for one reader.
    pub async fn open(&self) -> Result<Found, Fault> {
        let known = self.known.get_or_try_init(|| self.know()).await?;
        let bytes = Box::new(FileReader::new(Arc::clone(&known.file), known.length));
        Ok(Found::Program(Program { length: known.length, sha256: known.sha256, bytes }))
    }

    async fn know(&self) -> Result<Known, Fault> {
        let path = self.path.clone();
        let unreadable =
            |why: String| Fault::new(Code::Internal, format!("{} cannot be read: {why}", self.path.display()));
        match spawn_blocking(move || Known::read(&path)).await {
            Ok(Ok(known)) => Ok(known),
            Ok(Err(error)) => Err(unreadable(error.to_string())),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }
}

impl Known {
    fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; PIECE];
        let mut length: u64 = 0;
        loop {
            let read = file.read_at(&mut buffer, length)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
            digest.update(part);
            length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            if length > MAX_PROGRAM {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(Self { file: Arc::new(file), length, sha256: digest.finalize().into() })
    }
}
