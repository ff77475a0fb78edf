//! The command line as clap reads it: commands, flags, help texts. Nothing is done here.

mod agents;
mod config;
mod manifests;
mod orphans;
mod preflight;
mod run;
mod secrets;
mod server;
mod site;
mod source;
mod span;
mod token;
mod tree;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::agents::{Agents, AgentsCommand, Join, Revoke};
pub(crate) use self::config::{AnsibleVars, Config, Host as ConfigHost, Spec as ConfigSpec, Tfvars};
pub(crate) use self::manifests::{Format, Manifests, Show};
pub(crate) use self::orphans::Orphans;
pub(crate) use self::preflight::Preflight;
pub(crate) use self::run::{Apply, Destroy, Plan, RunArgs, Test};
pub(crate) use self::secrets::{Encrypt, Init, Secrets};
pub(crate) use self::server::{Adopt, Backup, Listen, Restore, Run, Server, Start};
pub(crate) use self::site::{ImportNode, SchemaKind as Kind, Site};
pub(crate) use self::source::{Source, SourceArgs, Validate};
pub(crate) use self::token::{Inspect, Mint, RevokeTokens, Token};
pub(crate) use self::tree::{Cancel, Logs, Runs, Status};

const EXAMPLES: &str = "\
Examples:
  homestak-coord apply n2-tiered                build the tree n2-tiered on this machine
  homestak-coord status                         what is recorded, and how it stands
  homestak-coord plan my-tree.yaml -H father    what apply would do on the host father
  homestak-coord destroy n2-tiered              take the tree down again

Every command talks to the coordinator's daemon and starts it when none runs.";

/// Builds trees of machines on Proxmox VE.
///
/// A manifest names the nodes of a tree: virtual machines, containers, and Proxmox VE hosts that carry further nodes
/// inside them, to any depth. The coordinator hands each host its part of the tree; the agent there builds it and
/// tells what happens.
#[derive(Debug, Parser)]
#[command(name = "homestak-coord", version, max_term_width = 100)]
#[command(disable_help_subcommand = true, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Globals {
    /// Print one JSON document on stdout
    ///
    /// Also on failure. Also spelt `--json-output`.
    #[arg(long, global = true, alias = "json-output")]
    pub(crate) json: bool,

    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// How log lines are written on stderr
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Where state is kept [env: HOMESTAK_STATE_DIR]
    ///
    /// Without it, `/var/lib/homestak` as root, else `$XDG_STATE_HOME/homestak` or `~/.local/state/homestak`. When
    /// given, sockets, logs and machines of `local` lie under it too, so that two of them never meet.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// The site folder [env: HOMESTAK_SITE_CONFIG]
    ///
    /// Without it, the first that is there of `../site-config`, `/usr/local/etc/homestak` and `/opt/homestak/site-config`;
    /// else the built-in demo site, which `--site demo` names too.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) site: Option<PathBuf>,

    /// TCP and UDP port of the daemon; 0 picks a free one [env: HOMESTAK_PORT]
    ///
    /// Without it, 44443, or a free one where a state folder is given. Once picked, the port is kept.
    #[arg(long, global = true, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Apply(Apply),
    Plan(Plan),
    Validate(Validate),
    Test(Test),
    Destroy(Destroy),
    Status(Status),
    Runs(Runs),
    Logs(Logs),
    Cancel(Cancel),
    Agents(Agents),
    #[command(subcommand)]
    Manifests(Manifests),
    Preflight(Preflight),
    Orphans(Orphans),
    #[command(subcommand)]
    Config(Config),
    #[command(subcommand)]
    Site(Site),
    #[command(subcommand)]
    Token(Token),
    #[command(subcommand)]
    Secrets(Secrets),
    #[command(subcommand)]
    Server(Server),
    Completions(Completions),
    /// Print the points at which a test may have this program killed.
    #[command(hide = true)]
    CrashPoints,
    /// The older spelling: `manifest apply -M NAME -H HOST`.
    #[command(subcommand, hide = true)]
    Manifest(Manifest),
}

/// The older spelling of the verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Manifest {
    Apply(Apply),
    Destroy(Destroy),
    Test(Test),
    Validate(Validate),
}

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord completions bash > /etc/bash_completion.d/homestak-coord
  homestak-coord completions fish > ~/.config/fish/completions/homestak-coord.fish
  source <(homestak-coord completions zsh)")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_after_long_help().is_some(), "{path} --help shows no examples");
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                check(sub, &path);
            }
        }
        check(&Cli::command(), "");
    }
}
