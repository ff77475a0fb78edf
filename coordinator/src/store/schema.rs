//! The tables, and the version of them that a file has.

use std::path::Path;
use std::time::Duration;

use homestak_protocol::ids::SiteId;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::error::Why;

/// The newest schema that is known, and the one that is written.
pub(super) const SCHEMA: u32 = 3;

/// Says in the file's header whose it is: `hstk`.
const APPLICATION: u32 = 0x6873_746b;

/// How long a statement waits for the other connection. They meet only while a copy is taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Schema 1. `records` is what the core remembers, sealed; `position` in `meta` is the last that it gave out.
const TABLES: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE trees (
    host TEXT NOT NULL,
    manifest TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, manifest)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    host TEXT NOT NULL,
    manifest TEXT NOT NULL,
    verb TEXT NOT NULL,
    state TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    body TEXT NOT NULL,
    result TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_tree ON runs (host, manifest, number);
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    origin TEXT NOT NULL,
    journal TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (origin, journal, seq)
) STRICT;
CREATE INDEX events_by_run ON events (run, position);
CREATE TABLE presences (
    path TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Schema 2: the ledger of tokens.
const LEDGER: &str = "
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    path TEXT,
    spent INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (
    node TEXT PRIMARY KEY,
    upto_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Schema 3: the last word on each node that is not what its spec says.
const DRIFTS: &str = "
CREATE TABLE drifts (
    path TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Makes the tables where there are none, brings older ones up to date, refuses what is not ours or newer, and says which site it is.
pub(super) fn prepare(connection: &mut Connection, random: u128) -> Result<SiteId, Why> {
    connection.busy_timeout(PATIENCE)?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA {
        return Err(Why::Newer { found, known: SCHEMA });
    }
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let owner: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if tables > 0 && (found == 0 || owner != APPLICATION) {
        return Err(Why::Damaged("it is another program's database".into()));
    }
    tune(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if found == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.execute_batch(TABLES)?;
        let site = SiteId::from_bits(random).to_string();
        transaction.execute("INSERT INTO meta (key, value) VALUES ('site', ?1)", params![site])?;
    }
    if found < 2 {
        transaction.execute_batch(LEDGER)?;
    }
    if found < 3 {
        transaction.execute_batch(DRIFTS)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
    }
    let site: Option<String> =
        transaction.query_row("SELECT value FROM meta WHERE key = 'site'", [], |row| row.get(0)).optional()?;
    let site = site.as_deref().and_then(SiteId::parse).ok_or_else(|| Why::Damaged("it has no site".into()))?;
    transaction.commit()?;
    Ok(site)
}

/// Durable commits: a power cut loses nothing that was acknowledged.
pub(super) fn tune(connection: &Connection) -> Result<(), Why> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(())
}

/// A consistent copy, while others read and write.
pub(super) fn copy(connection: &Connection, file: &Path) -> Result<(), Why> {
    let mut target = Connection::open(file)?;
    // All pages at once: a copy in steps begins anew with each write in between.
    Backup::new(connection, &mut target)?.step(-1)?;
    // The copy travels as one file.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}
