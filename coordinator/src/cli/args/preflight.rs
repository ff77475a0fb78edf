//! The command that looks before leaping.

use clap::Args;
use homestak_protocol::name::HostName;

/// Look whether a host is ready to carry trees
///
/// The site, its secrets, the host's entry and API token, its agent and what that has told of the host: for each what was
/// seen and what to do. `apply` and `test` look by themselves. Where the agent may not use PVE's API yet, it prints the
/// `pveum` commands that let it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord preflight
  homestak-coord preflight -H father
  homestak-coord preflight -H father --json")]
pub(crate) struct Preflight {
    /// The host
    #[arg(short = 'H', long, value_name = "HOST", default_value = "local")]
    pub(crate) host: HostName,
}
