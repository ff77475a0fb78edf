//! The command that finds what is left behind.

use clap::Args;
use homestak_protocol::name::HostName;

/// Show machines that no recorded tree names, or destroy them
///
/// Asks the agents of hosts, and of hosts inside them, which machines of this site they really have. One that no recorded
/// tree names is an orphan, unless its tree is being worked on right now. Machines of other sites, and what homestak has
/// not made, are never touched; one under protection or managed by HA stays, and its error says what to do.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord orphans                            on all hosts that are there
  homestak-coord orphans -H father --json
  homestak-coord orphans -H father --destroy        asks first
  homestak-coord orphans --destroy --yes")]
pub(crate) struct Orphans {
    /// The host, and what is below it; all hosts without it
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Option<HostName>,

    /// Destroy what is shown
    #[arg(long)]
    pub(crate) destroy: bool,

    /// Do not ask
    #[arg(short, long, requires = "destroy")]
    pub(crate) yes: bool,
}
