//! Lists: runs, log lines, agents, manifests.

use homestak_coord::documents::{AgentDocument, LogLine, ManifestDocument, RunSummary};

use super::elapsed::{self, moment};
use super::style::{Style, Tone, one_line};
use super::table::{self, Cell, Column};

/// Runs, a line each.
pub(crate) fn runs(runs: &[RunSummary], columns: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 7] = [
        Column::always("RUN"),
        Column::always("VERB"),
        Column::always("MANIFEST"),
        Column::rank("HOST", 3),
        Column::always("STATE"),
        Column::rank("STARTED", 1),
        Column::rank("TIME", 2).right(),
    ];
    if runs.is_empty() {
        return vec!["There have been no runs.".to_owned()];
    }
    let row = |run: &RunSummary| -> Vec<Cell> {
        vec![
            run.run.to_string().into(),
            run.verb.as_str().into(),
            run.manifest.as_str().into(),
            run.host.as_str().into(),
            Cell::toned(run.state.as_str(), run_tone(&run.state)),
            moment(&run.started_at).into(),
            elapsed::seconds(run.duration_seconds).into(),
        ]
    };
    table::lines(&COLUMNS, &runs.iter().map(row).collect::<Vec<_>>(), columns, style)
}

fn run_tone(state: &str) -> Tone {
    match state {
        "succeeded" => Tone::Good,
        "failed" => Tone::Bad,
        "cancelled" => Tone::Warn,
        _ => Tone::Active,
    }
}

/// A line of a run's log: time of day (UTC), place, what happened.
pub(crate) fn log(line: &LogLine, style: Style) -> String {
    let time = line.at.split_once('T').map_or(line.at.as_str(), |(_, time)| time).trim_end_matches('Z');
    let text = one_line(&line.text);
    let text = if line.failure { style.paint(Tone::Bad, text) } else { text };
    format!("{}  {}  {text}", style.paint(Tone::Dim, time), line.path)
}

/// Which run it was, and how it stands.
pub(crate) fn log_end(run: &RunSummary, style: Style) -> String {
    let title = format!("{} {} on {}", run.verb.as_str(), run.manifest, run.host);
    let state = style.paint(run_tone(&run.state), &run.state);
    let time = elapsed::seconds(run.duration_seconds);
    format!("run {} ({title}): {state}, {time}; began {}, times in UTC", run.run, moment(&run.started_at))
}

/// Agents, a line each.
pub(crate) fn agents(agents: &[AgentDocument], columns: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 6] = [
        Column::always("AGENT"),
        Column::always("LINK"),
        Column::rank("SINCE", 3),
        Column::rank("ADDRESS", 4),
        Column::rank("VERSION", 2),
        Column::rank("MACHINE", 1),
    ];
    if agents.is_empty() {
        return vec!["No agent is known.".to_owned()];
    }
    let row = |agent: &AgentDocument| -> Vec<Cell> {
        let (link, tone) = if agent.connected { ("connected", Tone::Good) } else { ("lost", Tone::Bad) };
        let facts = &agent.facts;
        vec![
            agent.path.as_str().into(),
            Cell::toned(link, tone),
            moment(&agent.since).into(),
            agent.address.as_str().into(),
            agent.version.as_str().into(),
            one_line(&format!("{} cpu, {} MiB, {}", facts.cpu, facts.memory, facts.os)).into(),
        ]
    };
    table::lines(&COLUMNS, &agents.iter().map(row).collect::<Vec<_>>(), columns, style)
}

/// Manifests that can be named, a line each.
pub(crate) fn manifests(manifests: &[ManifestDocument], columns: Option<usize>, style: Style) -> Vec<String> {
    const COLUMNS: [Column; 5] = [
        Column::always("NAME"),
        Column::rank("NODES", 3).right(),
        Column::rank("LEVELS", 1).right(),
        Column::rank("FROM", 2),
        Column::always("DESCRIPTION"),
    ];
    let row = |manifest: &ManifestDocument| -> Vec<Cell> {
        vec![
            manifest.name.as_str().into(),
            manifest.nodes.to_string().into(),
            manifest.levels.to_string().into(),
            manifest.source.as_str().into(),
            one_line(manifest.description.as_deref().unwrap_or_default()).into(),
        ]
    };
    table::lines(&COLUMNS, &manifests.iter().map(row).collect::<Vec<_>>(), columns, style)
}
