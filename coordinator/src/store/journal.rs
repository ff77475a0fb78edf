//! The core's journal: each record is kept under what it is about, so that the table always holds the image and needs no
//! compaction; events become rows of their own.

use std::path::Path;
use std::sync::Arc;

use homestak_node::core::record::{Image, Record};
use homestak_node::journal::{Journal, JournalError};
use homestak_protocol::codec;
use homestak_protocol::event::Origin;
use homestak_protocol::ids::{JournalId, Position, Seq};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::error::Why;
use super::events;
use super::seal::SealKey;
use super::worker::Worker;

pub(super) struct StoreJournal {
    writer: Worker,
    key: SealKey,
    path: Arc<Path>,
}

impl StoreJournal {
    pub(super) fn new(writer: Worker, key: SealKey, path: Arc<Path>) -> Self {
        Self { writer, key, path }
    }
}

impl Journal for StoreJournal {
    fn load(&mut self) -> Result<Image, JournalError> {
        let key = self.key.clone();
        Ok(self.writer.transact_blocking(move |tx| load(tx, &key))?)
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let changes: Result<Vec<Change>, Why> = records.iter().map(|record| Change::of(record, &self.key)).collect();
        let changes = changes.map_err(|why| why.at(&self.path))?;
        Ok(self.writer.transact_blocking(move |tx| changes.iter().try_for_each(|change| change.make(tx)))?)
    }
}

/// What a record does to the tables.
enum Change {
    Put { kind: &'static str, key: String, sealed: Vec<u8> },
    Drop { kind: &'static str, key: String },
    DropBelow { kind: &'static str, place: String },
    Event(events::Row),
    Nothing,
}

impl Change {
    fn of(record: &Record, seal: &SealKey) -> Result<Self, Why> {
        let key = match record {
            Record::Journal(_) => String::new(),
            Record::Order(tree, _) | Record::Tree(tree, _) => tree.to_string(),
            Record::Child(tree, child) => below(tree, &child.path),
            Record::View(tree, view) => below(tree, &view.path),
            Record::Peer(peer) => peer.path.to_string(),
            Record::Seen(path, ..) => path.to_string(),
            Record::Mark(origin, _) => mark(origin),
            Record::ChildGone(tree, path) => return Ok(Change::Drop { kind: "child", key: below(tree, path) }),
            Record::ViewGone(tree, path) => return Ok(Change::Drop { kind: "view", key: below(tree, path) }),
            // The last number seen of it stays in `seen` only while it is on record.
            Record::PeerGone(path) => return Ok(Change::Drop { kind: "peer", key: path.to_string() }),
            Record::MarksGone(place) => return Ok(Change::DropBelow { kind: "mark", place: place.to_string() }),
            Record::Entry(entry) => return Ok(Change::Event(events::Row::of(entry)?)),
            // Nobody is above.
            Record::Acked(_) => return Ok(Change::Nothing),
        };
        let bytes = codec::encode(record).map_err(|error| Why::damaged(record.name(), error))?;
        let kind = record.name();
        let sealed = seal.seal(&place(kind, &key), bytes)?;
        Ok(Change::Put { kind, key, sealed })
    }

    fn make(&self, tx: &Transaction<'_>) -> Result<(), Why> {
        match self {
            Change::Put { kind, key, sealed } => {
                tx.prepare_cached(
                    "INSERT INTO records (kind, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET value = excluded.value",
                )?
                .execute(params![kind, key, sealed])?;
            }
            Change::Drop { kind, key } => {
                let mut statement = tx.prepare_cached("DELETE FROM records WHERE kind = ?1 AND key = ?2")?;
                statement.execute(params![kind, key])?;
                if *kind == "peer" {
                    statement.execute(params!["seen", key])?;
                }
            }
            Change::DropBelow { kind, place } => {
                tx.prepare_cached(
                    "DELETE FROM records WHERE kind = ?1
                     AND (key LIKE ?2 || '#%' OR substr(key, 1, length(?2) + 1) = ?2 || '/')",
                )?
                .execute(params![kind, place])?;
            }
            Change::Event(row) => row.put(tx)?,
            Change::Nothing => {}
        }
        Ok(())
    }
}

fn load(tx: &Transaction<'_>, seal: &SealKey) -> Result<Image, Why> {
    let mut image = Image::default();
    let mut statement = tx.prepare("SELECT kind, key, value FROM records")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, key): (String, String) = (row.get(0)?, row.get(1)?);
        let place = place(&kind, &key);
        let bytes = seal.open(&place, row.get(2)?)?;
        image.apply(codec::decode(&bytes).map_err(|error| Why::damaged(&place, error))?);
    }
    // Events end here: none of them waits for anybody above, and they are read from their own table.
    image.last_position = Position(counter(tx, "position")?);
    image.acked = image.last_position;
    if let Some(journal) = image.journal {
        image.last_seq = image.last_seq.max(own_seq(tx, journal)?);
    }
    Ok(image)
}

fn counter(tx: &Transaction<'_>, key: &str) -> Result<u64, Why> {
    let value = tx.query_row("SELECT value FROM meta WHERE key = ?1", params![key], |row| row.get(0)).optional()?;
    Ok(value.unwrap_or_default())
}

/// The last number that the coordinator gave to an event of its own.
fn own_seq(tx: &Transaction<'_>, journal: JournalId) -> Result<Seq, Why> {
    Ok(Seq(counter(tx, &events::own_seq_key(&journal.to_string()))?))
}

fn below(tree: &homestak_protocol::path::TreeId, path: &homestak_protocol::path::NodePath) -> String {
    format!("{tree} {path}")
}

fn mark(origin: &Origin) -> String {
    format!("{}#{}", origin.path, origin.journal)
}

/// What a value is sealed to.
fn place(kind: &str, key: &str) -> String {
    format!("{kind} {key}")
}
