//! The beginning of an image that is on its way: a file beside the place where the image is to lie, named after the digest
//! that all of it must come to. Whoever begins again goes on where it ends, and nothing that does not come to that digest
//! ever gets the image's name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use homestak_protocol::message;
use sha2::{Digest as _, Sha256};

/// How such files begin and end. PVE lists only files that end as images do.
const BEGIN: &str = ".homestak-";
const END: &str = ".part";
/// Bytes that are read at once.
const PIECE: usize = 1024 * 1024;
/// How many of them are told of: an image at a time is on its way, and one that was given up may lie beside it.
const TOLD: usize = 16;

/// Why a file is not the image that was meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    /// The disk says no.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// It ends too early.
    #[error("only {have} of {of} bytes have come")]
    Short {
        /// Bytes that there are.
        have: u64,
        /// Bytes that there should be.
        of: u64,
    },
    /// Something else has come.
    #[error("what has come is not what it should be: its checksum differs")]
    Checksum,
}

/// What there is of one image.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: File,
    digest: Sha256,
    length: u64,
    wanted: [u8; 32],
}

impl Part {
    /// Takes up what there is of the image with this digest.
    pub(super) fn open(folder: &Path, sha256: [u8; 32]) -> io::Result<Self> {
        let path = folder.join(format!("{BEGIN}{}{END}", hex(&sha256)));
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let (mut digest, mut length, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE]);
        loop {
            let read = file.read(&mut piece)?;
            let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
            digest.update(part);
            length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        Ok(Self { path, file, digest, length, wanted: sha256 })
    }

    /// How much there is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds what comes next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // Some of it may be there: what is not counted must not be.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.digest.update(bytes);
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Begins again with nothing.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.digest, self.length) = (Sha256::new(), 0);
        Ok(())
    }

    /// Whether it is an image in QEMU's own format.
    pub(super) fn is_qcow2(&self) -> bool {
        is_qcow2(&self.file)
    }

    /// Gives it its name, if it is all there and what it should be. What is something else goes.
    pub(super) fn finish(self, length: u64, to: &Path) -> Result<(), PartError> {
        if self.length < length {
            return Err(PartError::Short { have: self.length, of: length });
        }
        let digest: [u8; 32] = self.digest.finalize().into();
        if self.length > length || digest != self.wanted {
            fs::remove_file(&self.path)?;
            return Err(PartError::Checksum);
        }
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        if let Some(folder) = to.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// Whether a file is an image in QEMU's own format.
pub(super) fn is_qcow2(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"QFI\xfb"
}

/// What a folder has of images, as their giver is told.
pub(super) fn parts(folder: &Path) -> Vec<message::Part> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let sha256 = unhex(name.strip_prefix(BEGIN)?.strip_suffix(END)?)?;
        Some(message::Part { sha256, length: entry.metadata().ok()?.len() })
    });
    found.take(TOLD).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0_usize..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look like chance, the same for each seed.
    fn numbers(seed: u64) -> impl Iterator<Item = usize> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        })
    }

    fn image(length: usize, seed: u64) -> (Vec<u8>, [u8; 32]) {
        let bytes: Vec<u8> = numbers(seed).take(length).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let digest = Sha256::digest(&bytes).into();
        (bytes, digest)
    }

    #[test]
    fn however_often_it_breaks_off_what_gets_the_name_is_the_image() {
        for seed in 1..60 {
            let folder = tempfile::tempdir().unwrap();
            let to = folder.path().join("image.qcow2");
            let mut chance = numbers(seed);
            let (bytes, digest) = image(1 + chance.next().unwrap() % 100_000, seed);
            let length = u64::try_from(bytes.len()).unwrap();
            loop {
                // A new life: what is on disk is all that is known.
                let told = parts(folder.path());
                let mut part = Part::open(folder.path(), digest).unwrap();
                assert!(told.iter().all(|one| one.sha256 == digest && one.length == part.length()));
                let from = usize::try_from(part.length()).unwrap();
                assert_eq!(fs::read(&part.path).unwrap(), bytes[..from]);
                let until = (from + chance.next().unwrap() % 40_000).min(bytes.len());
                for piece in bytes[from..until].chunks(1 + chance.next().unwrap() % 5_000) {
                    part.write(piece).unwrap();
                }
                match part.finish(length, &to) {
                    Ok(()) => break,
                    Err(PartError::Short { have, of }) => {
                        assert_eq!((usize::try_from(have).unwrap(), of), (until, length));
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
                assert!(!to.exists(), "nothing has the name before it is whole");
            }
            assert_eq!(fs::read(&to).unwrap(), bytes);
            assert_eq!(parts(folder.path()), Vec::new(), "nothing is left beside it");
        }
    }

    #[test]
    fn what_is_something_else_goes_and_the_next_attempt_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("image.raw");
        let (mut bytes, digest) = image(10_000, 3);
        bytes[5_000] ^= 1;
        let mut part = Part::open(folder.path(), digest).unwrap();
        part.write(&bytes).unwrap();
        assert!(matches!(part.finish(10_000, &to), Err(PartError::Checksum)));
        assert!(!to.exists() && parts(folder.path()).is_empty());
        bytes[5_000] ^= 1;
        let mut part = Part::open(folder.path(), digest).unwrap();
        part.write(b"rubbish").unwrap();
        part.restart().unwrap();
        part.write(&bytes).unwrap();
        assert!(!part.is_qcow2());
        part.finish(10_000, &to).unwrap();
        assert_eq!(fs::read(to).unwrap(), bytes);
    }

    #[test]
    fn only_files_that_are_parts_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".homestak-zz.part"), "x").unwrap();
        fs::write(folder.path().join("debian-12.qcow2"), "x").unwrap();
        fs::write(folder.path().join(format!(".homestak-{}.part", "ab".repeat(32))), "xyz").unwrap();
        assert_eq!(parts(folder.path()), [message::Part { sha256: [0xab; 32], length: 3 }]);
    }
}
