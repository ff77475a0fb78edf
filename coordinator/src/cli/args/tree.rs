//! The commands that look at trees and runs.

use clap::Args;
use homestak_protocol::ids::RunId;
use homestak_protocol::name::HostName;

/// Show how trees stand
///
/// With a manifest's name, every node of that tree; without one, a line for each recorded tree.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord status
  homestak-coord status n2-tiered
  homestak-coord status n2-tiered -H father --watch
  homestak-coord status n2-tiered --json")]
pub(crate) struct Status {
    /// The manifest's name, or the path of its file
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: Option<String>,

    /// The host; with a manifest `local` if not given, else all hosts
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Option<HostName>,

    /// Keep showing it as it changes, until Ctrl-C
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) watch: bool,
}

/// List runs, the latest first
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord runs
  homestak-coord runs n2-tiered --limit 5
  homestak-coord runs --json")]
pub(crate) struct Runs {
    /// Only this manifest's
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: Option<String>,

    /// Only this host's
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Option<HostName>,

    /// How many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Show what happened in a run
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord logs 3f9c21d04b7e
  homestak-coord logs 3f9c21d04b7e --node edge
  homestak-coord logs 3f9c21d04b7e --follow")]
pub(crate) struct Logs {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "RUN", value_parser = run_id)]
    pub(crate) run: RunId,

    /// Only what concerns this node: its name or path
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,

    /// Go on until the run is over
    #[arg(short, long)]
    pub(crate) follow: bool,
}

/// Cancel a run
///
/// Nothing new is started and what is in flight is given up; what exists stays.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord cancel 3f9c21d04b7e")]
pub(crate) struct Cancel {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "RUN", value_parser = run_id)]
    pub(crate) run: RunId,
}

fn run_id(text: &str) -> Result<RunId, String> {
    RunId::parse(text).ok_or_else(|| "a run's id has 12 hex digits; `homestak-coord runs` lists them".to_owned())
}
