//! An agent's journal: one file of sealed frames, each one atomic append, each on disk before the next is begun.
//!
//! A frame is a length of four bytes, big endian, and that many bytes sealed with ChaCha20-Poly1305; its number is its
//! nonce. The file begins with a magic and a random salt, from which and the identity's key its own key is derived. Every
//! start writes the image into a new file with a new salt, so a nonce that a torn write may have used is never used again.
//! Only the last frame can be torn: it is passed over. A damaged frame with a good one after it is an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use homestak_protocol::codec;
use homestak_protocol::path::NodePath;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{Journal, JournalError};
use crate::core::record::{Image, Record};

const MAGIC: &[u8; 8] = b"HSJRNL01";
const SALT: usize = 16;
const HEADER: usize = 4;
/// A file below this size is not worth compacting.
const COMPACT_ABOVE: u64 = 1024 * 1024;
/// A file is compacted when it has this many times the size that it had after the last compaction.
const COMPACT_FACTOR: u64 = 4;
/// The largest frame: one step's records. A step takes over at most one report or order, each a frame of the wire.
const MAX_FRAME: usize = 4 * homestak_protocol::frame::MAX_FRAME;

/// The key that journals are sealed with, derived from the identity. Wiped when dropped.
pub type JournalKey = Zeroizing<[u8; 32]>;

/// A journal in a file.
pub struct FileJournal {
    path: PathBuf,
    me: NodePath,
    key: JournalKey,
    open: Option<Open>,
}

/// The file that is being appended to.
struct Open {
    file: File,
    seal: LessSafeKey,
    frames: u64,
    /// Where the last whole frame ends.
    end: u64,
    compacted: u64,
}

impl FileJournal {
    /// A journal at this path. Nothing is read before [`Journal::load`]. The caller holds the state folder's lock.
    pub fn new(path: PathBuf, me: NodePath, key: JournalKey) -> Self {
        Self { path, me, key, open: None }
    }

    fn error(&self, doing: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { what: self.path.display().to_string(), doing, source: Box::new(source) }
    }

    fn damaged(&self, why: impl Into<String>) -> JournalError {
        JournalError::Damaged { what: self.path.display().to_string(), why: why.into() }
    }

    fn read(&self) -> Result<Image, JournalError> {
        let mut image = Image::default();
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(|e| self.error("read", e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(image),
            Err(e) => return Err(self.error("opened", e)),
        };
        let Some((start, mut rest)) = bytes.split_at_checked(MAGIC.len() + SALT) else {
            return Err(self.damaged("it is too short"));
        };
        let (magic, salt) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(self.damaged("it is not a journal, or one of another version"));
        }
        let seal = sealing_key(&self.key, salt).map_err(|e| self.error("read", e))?;
        let mut number = 0;
        while !rest.is_empty() {
            let Some((records, after)) = frame(&seal, number, rest) else {
                if number == 0 {
                    return Err(self.damaged("it was sealed with another identity's key"));
                }
                if after_damage(&seal, number, rest) {
                    return Err(self.damaged(format!("frame {number} cannot be read, but later ones can")));
                }
                tracing::warn!(journal = %self.path.display(), frame = number, "the last write was torn; it is passed over");
                break;
            };
            records.into_iter().for_each(|record| image.apply(record));
            rest = after;
            number += 1;
        }
        Ok(image)
    }

    /// Writes a new file that holds this image, and puts it in the place of the present one.
    fn rewrite(&self, image: Image) -> Result<Open, JournalError> {
        let new = self.path.with_extension("new");
        let error = |e| self.error("rewritten", e);
        let mut salt = [0; SALT];
        random(&mut salt).map_err(error)?;
        let seal = sealing_key(&self.key, &salt).map_err(error)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(error)?;
        let mut open = Open { file, seal, frames: 0, end: 0, compacted: 0 };
        open.file.write_all(MAGIC).and_then(|()| open.file.write_all(&salt)).map_err(error)?;
        open.end = (MAGIC.len() + SALT) as u64;
        // A few thousand records a frame keeps a large image within the limit of one.
        for records in image.into_records(&self.me).chunks(4096) {
            open.append(records).map_err(error)?;
        }
        if open.frames == 0 {
            open.append(&[]).map_err(error)?;
        }
        open.compacted = open.end;
        open.file.sync_all().map_err(error)?;
        std::fs::rename(&new, &self.path).map_err(error)?;
        sync_folder(&self.path).map_err(error)?;
        Ok(open)
    }
}

impl Journal for FileJournal {
    fn load(&mut self) -> Result<Image, JournalError> {
        let image = self.read()?;
        self.open = Some(self.rewrite(image.clone())?);
        Ok(image)
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let what = self.path.display().to_string();
        let Some(open) = self.open.as_mut() else {
            return Err(JournalError::Damaged { what, why: "it was not loaded".into() });
        };
        let written = open.append(records).and_then(|()| open.file.sync_data());
        if let Err(source) = written {
            return Err(JournalError::Io { what, doing: "written", source: Box::new(source) });
        }
        if open.end > COMPACT_ABOVE && open.end > COMPACT_FACTOR * open.compacted {
            let image = self.read()?;
            self.open = Some(self.rewrite(image)?);
        }
        Ok(())
    }
}

impl Open {
    /// Writes one frame. A failed write leaves the file as it was, for the next attempt to begin at the same place.
    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut body = codec::encode(&records).map_err(io::Error::other)?;
        self.seal
            .seal_in_place_append_tag(nonce(self.frames), Aad::empty(), &mut body)
            .map_err(|_| io::Error::other("sealing failed"))?;
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
        let length = length.ok_or_else(|| io::Error::other("a step's records are over the limit of one frame"))?;
        let mut frame = Vec::with_capacity(HEADER + body.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&body);
        if let Err(error) = self.file.write_all(&frame) {
            use std::io::Seek;
            self.file.set_len(self.end)?;
            self.file.seek(io::SeekFrom::Start(self.end))?;
            return Err(error);
        }
        self.end += frame.len() as u64;
        self.frames += 1;
        Ok(())
    }
}

/// The records of the frame that the bytes begin with, and what follows it.
fn frame<'a>(seal: &LessSafeKey, number: u64, bytes: &'a [u8]) -> Option<(Vec<Record>, &'a [u8])> {
    let (body, rest) = split_frame(bytes)?;
    let mut body = body.to_vec();
    let plain = seal.open_in_place(nonce(number), Aad::empty(), &mut body).ok()?;
    Some((codec::decode(plain).ok()?, rest))
}

fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let length = usize::try_from(u32::from_be_bytes(*header)).ok().filter(|length| *length <= MAX_FRAME)?;
    rest.split_at_checked(length)
}

/// Whether a good frame follows the one that cannot be read, so that it was not the last write that was torn.
fn after_damage(seal: &LessSafeKey, number: u64, bytes: &[u8]) -> bool {
    split_frame(bytes).is_some_and(|(_, rest)| frame(seal, number + 1, rest).is_some())
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    let (_, low) = bytes.split_at_mut(NONCE_LEN - size_of::<u64>());
    low.copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn sealing_key(key: &JournalKey, salt: &[u8]) -> io::Result<LessSafeKey> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
    let derived = hmac::sign(&key, salt);
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, derived.as_ref());
    unbound.map(LessSafeKey::new).map_err(|_| io::Error::other("the key has the wrong length"))
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| io::Error::other("the system has no random numbers"))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use homestak_protocol::ids::{JournalId, Position};

    use super::*;

    fn place() -> NodePath {
        NodePath::parse("local/m/a").unwrap()
    }

    fn journal(folder: &Path) -> FileJournal {
        FileJournal::new(folder.join("journal"), place(), Zeroizing::new([7; 32]))
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("homestak-journal-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn filled(folder: &Path) -> FileJournal {
        let mut journal = journal(folder);
        journal.load().unwrap();
        journal.append(&[Record::Journal(JournalId::from_bits(9))]).unwrap();
        journal.append(&[Record::Acked(Position(3))]).unwrap();
        journal.append(&[Record::Acked(Position(4))]).unwrap();
        journal
    }

    #[test]
    fn what_was_acknowledged_is_read_again_and_nothing_in_the_clear() {
        let folder = folder("clear");
        let mut first = filled(&folder);
        let path = NodePath::parse("local/m/a/secret-name").unwrap();
        first.append(&[Record::PeerGone(path)]).unwrap();
        drop(first);
        assert!(!fs::read(folder.join("journal")).unwrap().windows(6).any(|w| w == b"secret"));
        let image = journal(&folder).load().unwrap();
        assert_eq!((image.journal, image.acked), (Some(JournalId::from_bits(9)), Position(4)));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.join("journal")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_last_write_torn_at_any_byte_loses_only_itself() {
        let folder = folder("torn");
        drop(filled(&folder));
        let whole = fs::read(folder.join("journal")).unwrap();
        let last = HEADER + split_frame(&whole[whole.len() - 22..]).map_or(18, |(body, _)| body.len());
        for cut in 1..last {
            fs::write(folder.join("journal"), &whole[..whole.len() - cut]).unwrap();
            let image = journal(&folder).load().unwrap();
            assert_eq!(image.acked, Position(3), "cut by {cut}");
        }
        let mut zeros = whole.clone();
        zeros.extend_from_slice(&[0; 4096]);
        fs::write(folder.join("journal"), zeros).unwrap();
        assert_eq!(journal(&folder).load().unwrap().acked, Position(4));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn damage_before_the_last_write_is_an_error_and_nothing_is_overwritten() {
        let folder = folder("damage");
        drop(filled(&folder));
        let mut bytes = fs::read(folder.join("journal")).unwrap();
        // The second frame: after magic, salt and the first, which holds what an empty image adds up to.
        let first = split_frame(&bytes[24..]).unwrap().0.len() + HEADER;
        bytes[24 + first + HEADER] ^= 1;
        fs::write(folder.join("journal"), &bytes).unwrap();
        assert!(matches!(journal(&folder).load(), Err(JournalError::Damaged { .. })));
        assert_eq!(fs::read(folder.join("journal")).unwrap(), bytes);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_journal_of_another_identity_is_refused() {
        let folder = folder("other");
        drop(filled(&folder));
        let mut other = FileJournal::new(folder.join("journal"), place(), Zeroizing::new([8; 32]));
        assert!(matches!(other.load(), Err(JournalError::Damaged { .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_long_life_does_not_make_a_long_file() {
        let folder = folder("long");
        let mut journal = journal(&folder);
        journal.load().unwrap();
        let path = NodePath::parse(&format!("local/m/{}", "a".repeat(60))).unwrap();
        let many: Vec<_> =
            (0..1000).map(|n| Record::Seen(path.clone(), JournalId::from_bits(1), Position(n))).collect();
        for _ in 0..100 {
            journal.append(&many).unwrap();
        }
        assert!(fs::metadata(folder.join("journal")).unwrap().len() < 2 * COMPACT_ABOVE);
        assert_eq!(journal.read().unwrap().seen.len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
