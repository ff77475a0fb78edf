//! Runs and trees as rows.

use homestak_protocol::ids::RunId;
use homestak_protocol::name::{HostName, ManifestName};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::error::Why;
use super::rows::{RunFilter, RunRow, TreeRow};

pub(super) fn begin(tx: &Transaction<'_>, run: &RunRow, tree: Option<&TreeRow>) -> Result<(), Why> {
    put(tx, run)?;
    tree.map_or(Ok(()), |tree| put_tree(tx, tree))
}

pub(super) fn take_back(
    tx: &Transaction<'_>,
    run: RunId,
    host: &HostName,
    manifest: &ManifestName,
    former: Option<&TreeRow>,
) -> Result<(), Why> {
    tx.execute("DELETE FROM runs WHERE id = ?1", params![run.to_string()])?;
    match former {
        Some(tree) => put_tree(tx, tree),
        None => drop_tree(tx, host, manifest),
    }
}

pub(super) fn put(tx: &Transaction<'_>, run: &RunRow) -> Result<(), Why> {
    let body = serde_json::to_string(run).map_err(|error| Why::damaged("a run", error))?;
    let result = run.result.as_ref().map(serde_json::to_string).transpose();
    let result = result.map_err(|error| Why::damaged("a run's result", error))?;
    tx.prepare_cached(
        "INSERT INTO runs (id, number, host, manifest, verb, state, started_ms, ended_ms, body, result)
         VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM runs), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, ended_ms = excluded.ended_ms, body = excluded.body,
             result = excluded.result",
    )?
    .execute(params![
        run.id.to_string(),
        run.host.as_str(),
        run.manifest.as_str(),
        run.verb.as_str(),
        run.state.as_str(),
        run.started_ms,
        run.ended_ms,
        body,
        result,
    ])?;
    Ok(())
}

pub(super) fn one(db: &Connection, id: RunId) -> Result<Option<RunRow>, Why> {
    db.prepare_cached("SELECT body, result FROM runs WHERE id = ?1")?
        .query_row(params![id.to_string()], |row| Ok(read_run(row)))
        .optional()?
        .transpose()
}

pub(super) fn list(db: &Connection, filter: &RunFilter) -> Result<Vec<RunRow>, Why> {
    let mut statement = db.prepare_cached(
        "SELECT body, NULL FROM runs
         WHERE (?1 IS NULL OR host = ?1) AND (?2 IS NULL OR manifest = ?2) AND (NOT ?3 OR state = 'running')
         ORDER BY number DESC LIMIT ?4",
    )?;
    let mut rows = statement.query(params![
        filter.host.as_ref().map(HostName::as_str),
        filter.manifest.as_ref().map(ManifestName::as_str),
        filter.running,
        filter.limit.map_or(-1, i64::from),
    ])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(read_run(row)?);
    }
    Ok(runs)
}

fn read_run(row: &Row<'_>) -> Result<RunRow, Why> {
    let (body, result): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let mut run: RunRow = serde_json::from_str(&body).map_err(|error| Why::damaged("a run", error))?;
    let result = result.map(|text| serde_json::from_str(&text)).transpose();
    run.result = result.map_err(|error| Why::damaged("a run's result", error))?;
    Ok(run)
}

/// Drops the oldest runs that are over, and all events of runs that are no longer on record.
pub(super) fn make_room(tx: &Transaction<'_>, max_runs: u32, max_events: u32) -> Result<(), Why> {
    let dropped = tx.execute(
        "DELETE FROM runs WHERE state <> 'running'
         AND number <= (SELECT number FROM runs ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        params![max_runs],
    )?;
    if dropped > 0 {
        drop_orphans(tx)?;
    }
    // The latest run keeps its events however many they are.
    while count(tx)? > max_events {
        let oldest: Option<String> = tx
            .query_row(
                "SELECT id FROM runs WHERE state <> 'running' AND number < (SELECT max(number) FROM runs)
                 AND EXISTS (SELECT 1 FROM events WHERE run = id) ORDER BY number LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()?;
        match oldest {
            Some(run) => tx.execute("DELETE FROM events WHERE run = ?1", params![run])?,
            None => return drop_orphans(tx),
        };
    }
    Ok(())
}

fn drop_orphans(tx: &Transaction<'_>) -> Result<(), Why> {
    tx.execute("DELETE FROM events WHERE run NOT IN (SELECT id FROM runs)", [])?;
    Ok(())
}

fn count(tx: &Transaction<'_>) -> Result<u32, Why> {
    Ok(tx.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?)
}

pub(super) fn put_tree(tx: &Transaction<'_>, tree: &TreeRow) -> Result<(), Why> {
    let body = serde_json::to_string(tree).map_err(|error| Why::damaged("a tree", error))?;
    tx.prepare_cached(
        "INSERT INTO trees (host, manifest, body) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = excluded.body",
    )?
    .execute(params![tree.host.as_str(), tree.manifest.as_str(), body])?;
    Ok(())
}

pub(super) fn drop_tree(tx: &Transaction<'_>, host: &HostName, manifest: &ManifestName) -> Result<(), Why> {
    tx.execute("DELETE FROM trees WHERE host = ?1 AND manifest = ?2", params![host.as_str(), manifest.as_str()])?;
    Ok(())
}

pub(super) fn tree(db: &Connection, host: &HostName, manifest: &ManifestName) -> Result<Option<TreeRow>, Why> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM trees WHERE host = ?1 AND manifest = ?2")?
        .query_row(params![host.as_str(), manifest.as_str()], |row| row.get(0))
        .optional()?;
    body.map(|body| serde_json::from_str(&body).map_err(|error| Why::damaged("a tree", error))).transpose()
}

pub(super) fn trees(db: &Connection) -> Result<Vec<TreeRow>, Why> {
    let mut statement = db.prepare_cached("SELECT body FROM trees ORDER BY host, manifest")?;
    let bodies = statement.query_map([], |row| row.get::<_, String>(0))?;
    bodies.map(|body| serde_json::from_str(&body?).map_err(|error| Why::damaged("a tree", error))).collect()
}
