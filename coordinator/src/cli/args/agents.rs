//! The commands about agents.

use clap::{Args, Subcommand};
use homestak_protocol::name::HostName;
use homestak_protocol::path::NodePath;

/// List agents, admit one, or shut one out
///
/// Without an action, every agent that is known: on hosts and on the nodes below them.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  homestak-coord agents
  homestak-coord agents --json
  homestak-coord agents join -H father
  homestak-coord agents revoke father/n2-tiered/root-pve"
)]
pub(crate) struct Agents {
    #[command(subcommand)]
    pub(crate) command: Option<AgentsCommand>,
}

/// What to do with an agent.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    Join(Join),
    Revoke(Revoke),
}

/// Let a host's agent join: prints the one command to run on that host
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord agents join -H father
  homestak-coord agents join -H father --replace")]
pub(crate) struct Join {
    /// The host
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: HostName,

    /// Take the place of the agent that joined for this host before
    #[arg(long)]
    pub(crate) replace: bool,
}

/// Take an agent's certificate away: it is shut out until its machine is made anew
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord agents revoke father/n2-tiered/root-pve
  homestak-coord agents revoke father")]
pub(crate) struct Revoke {
    /// Its path, as `agents` shows it
    #[arg(value_name = "PATH")]
    pub(crate) path: NodePath,
}
