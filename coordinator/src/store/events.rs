//! Events, presences and drift as rows.

use homestak_protocol::codec;
use homestak_protocol::event::{Change, Drift, Entry, Event, Presence};
use homestak_protocol::ids::{Generation, Position, RunId};
use rusqlite::{Connection, Transaction, params};

use super::error::Why;

/// An event, ready to be written.
pub(super) struct Row {
    position: u64,
    run: String,
    origin: String,
    own: bool,
    journal: String,
    seq: u64,
    at_ms: u64,
    body: Vec<u8>,
    drift: Option<(String, bool)>,
}

impl Row {
    pub(super) fn of(entry: &Entry) -> Result<Self, Why> {
        let event = &entry.event;
        Ok(Self {
            position: entry.position.0,
            run: event.scope.run.to_string(),
            origin: event.origin.path.to_string(),
            own: event.origin.path.is_coordinator(),
            journal: event.origin.journal.to_string(),
            seq: event.seq.0,
            at_ms: event.at_ms,
            body: codec::encode(event).map_err(|error| Why::damaged("an event", error))?,
            drift: match &event.change {
                Change::Drift(drift) => Some((drift.path.to_string(), drift.differences > 0)),
                _ => None,
            },
        })
    }

    /// Writes it, once for each number of its origin, and remembers how far the counters are: rows are dropped one day,
    /// numbers are never given out again.
    pub(super) fn put(&self, tx: &Transaction<'_>) -> Result<(), Why> {
        tx.prepare_cached(
            "INSERT INTO events (position, run, origin, journal, seq, at_ms, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (origin, journal, seq) DO NOTHING",
        )?
        .execute(params![
            self.position,
            self.run,
            self.origin,
            self.journal,
            self.seq,
            self.at_ms,
            self.body
        ])?;
        let mut counter = tx.prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
        )?;
        counter.execute(params!["position", self.position])?;
        if self.own {
            counter.execute(params![own_seq_key(&self.journal), self.seq])?;
        }
        match &self.drift {
            Some((path, true)) => drop(
                tx.prepare_cached(
                    "INSERT INTO drifts (path, body) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = excluded.body",
                )?
                .execute(params![path, self.body])?,
            ),
            Some((path, false)) => drop(tx.prepare_cached("DELETE FROM drifts WHERE path = ?1")?.execute([path])?),
            None => {}
        }
        Ok(())
    }
}

pub(super) fn own_seq_key(journal: &str) -> String {
    format!("seq {journal}")
}

pub(super) fn page(db: &Connection, run: RunId, after: Position, limit: u32) -> Result<Vec<(Position, Event)>, Why> {
    let mut statement = db.prepare_cached(
        "SELECT position, body FROM events WHERE run = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
    )?;
    let mut rows = statement.query(params![run.to_string(), after.0, limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let position = Position(row.get(0)?);
        let body: Vec<u8> = row.get(1)?;
        let event = codec::decode(&body).map_err(|error| Why::damaged("an event", error))?;
        events.push((position, event));
    }
    Ok(events)
}

pub(super) fn put_presence(tx: &Transaction<'_>, presence: &Presence) -> Result<(), Why> {
    let body = codec::encode(presence).map_err(|error| Why::damaged("a presence", error))?;
    tx.prepare_cached(
        "INSERT INTO presences (path, body) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = excluded.body",
    )?
    .execute(params![presence.path.as_str(), body])?;
    Ok(())
}

pub(super) fn drop_presences(tx: &Transaction<'_>, place: &str) -> Result<(), Why> {
    for table in ["presences", "drifts"] {
        let below = format!("DELETE FROM {table} WHERE path = ?1 OR substr(path, 1, length(?1) + 1) = ?1 || '/'");
        tx.prepare_cached(&below)?.execute(params![place])?;
    }
    Ok(())
}

pub(super) fn presences(db: &Connection) -> Result<Vec<Presence>, Why> {
    let mut statement = db.prepare_cached("SELECT body FROM presences ORDER BY path")?;
    let mut rows = statement.query([])?;
    let mut presences = Vec::new();
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(0)?;
        presences.push(codec::decode(&body).map_err(|error| Why::damaged("a presence", error))?);
    }
    Ok(presences)
}

/// The last word on every node that is not what its spec says, and the generation that it was found of.
pub(super) fn drifts(db: &Connection) -> Result<Vec<(Generation, Drift)>, Why> {
    let mut statement = db.prepare_cached("SELECT body FROM drifts ORDER BY path")?;
    let mut rows = statement.query([])?;
    let mut drifts = Vec::new();
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(0)?;
        let event: Event = codec::decode(&body).map_err(|error| Why::damaged("a drift", error))?;
        if let Change::Drift(drift) = event.change {
            drifts.push((event.scope.generation, drift));
        }
    }
    Ok(drifts)
}
