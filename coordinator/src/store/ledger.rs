//! The ledger of tokens: which were shown, which are used up, and whose were revoked.

use rusqlite::{Connection, Transaction, params};

use super::error::Why;

/// A token that counts once, as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// SHA-256 of it, in hex.
    pub id: String,
    /// The node that it names.
    pub node: String,
    /// The place that it names, if it names one.
    pub path: Option<String>,
    /// Whether its node has said that it is configured.
    pub spent: bool,
}

/// Tokens that are kept. Each is some 150 bytes; those that were shown longest ago go first.
const MAX_TOKENS: u32 = 100_000;

pub(super) fn put(tx: &Transaction<'_>, shown: &Shown, at_ms: u64) -> Result<(), Why> {
    tx.execute(
        "INSERT INTO tokens (id, node, path, spent, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET spent = max(spent, excluded.spent)",
        params![shown.id, shown.node, shown.path, shown.spent, at_ms],
    )?;
    tx.execute(
        "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)",
        params![MAX_TOKENS],
    )?;
    Ok(())
}

pub(super) fn shown(db: &Connection) -> Result<Vec<Shown>, Why> {
    let mut statement = db.prepare("SELECT id, node, path, spent FROM tokens")?;
    let rows = statement
        .query_map([], |row| Ok(Shown { id: row.get(0)?, node: row.get(1)?, path: row.get(2)?, spent: row.get(3)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every token of this node that was minted up to then is revoked.
pub(super) fn revoke(tx: &Transaction<'_>, node: &str, upto_s: u64) -> Result<(), Why> {
    tx.execute(
        "INSERT INTO revocations (node, upto_s) VALUES (?1, ?2)
         ON CONFLICT (node) DO UPDATE SET upto_s = max(upto_s, excluded.upto_s)",
        params![node, upto_s],
    )?;
    Ok(())
}

pub(super) fn revocations(db: &Connection) -> Result<Vec<(String, u64)>, Why> {
    let mut statement = db.prepare("SELECT node, upto_s FROM revocations")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
