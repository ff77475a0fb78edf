//! The commands about the daemon itself.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use homestak_coord::client::Mode;
use homestak_protocol::name::HostName;

/// Start, stop and look after the daemon
///
/// Every other command starts the daemon when none runs; one that was started this way ends by itself when it has
/// nothing left to look after.
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    after_long_help = "\
Examples:
  homestak-coord server start
  homestak-coord server status
  homestak-coord server backup /root/homestak.backup"
)]
pub(crate) enum Server {
    Start(Start),
    Stop(Stop),
    Status(ServerStatus),
    Run(Run),
    Adopt(Adopt),
    Backup(Backup),
    Restore(Restore),
}

/// Where the daemon listens and logs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Listen {
    /// The address to listen on
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,

    /// The file that the daemon's log goes to, instead of one in the state folder
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// Serve every git work tree directly in this folder: uncommitted changes as branch `_working`, and file by file
    #[arg(long, value_name = "DIR")]
    pub(crate) repos: Option<PathBuf>,

    /// What clients of the repositories show as `Authorization: Bearer TOKEN`; one is drawn and printed where none is given
    ///
    /// Others on this machine can read the arguments of a program: better set HOMESTAK_REPO_TOKEN.
    #[arg(long, value_name = "TOKEN", env = "HOMESTAK_REPO_TOKEN", hide_env_values = true)]
    pub(crate) repo_token: Option<String>,

    /// An HTTPS certificate of your own with its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// The key of --cert, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

/// Start the daemon and return once it answers
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server start
  homestak-coord server start --bind 192.0.2.7 --port 44443
  homestak-coord server start --repos /srv/homestak --cert /etc/ssl/hub.pem --key /etc/ssl/private/hub.key
  homestak-coord server start --foreground")]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) listen: Listen,

    /// Stay in the foreground and log to stderr; the same as `server run`
    #[arg(long)]
    pub(crate) foreground: bool,
}

/// Be the daemon, in the foreground, until a signal; for service managers
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server run
  homestak-coord server run --log-format json --bind 192.0.2.7")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) listen: Listen,

    /// How the daemon ends and what it says when it is up; other modes are for commands that start it
    #[arg(long, value_name = "MODE", hide = true, default_value = "foreground", value_parser = mode())]
    pub(crate) mode: Mode,
}

fn mode() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new([Mode::Foreground, Mode::Background, Mode::OnDemand].map(Mode::as_str))
        .map(|word| Mode::parse(&word).unwrap_or(Mode::Foreground))
}

/// Stop the daemon; runs go on below and are picked up again by the next one
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server stop")]
pub(crate) struct Stop {}

/// Say whether the daemon runs
///
/// Exits with 0 if it is healthy, with 1 if none runs, with 2 if it runs and is not healthy.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server status
  homestak-coord server status --json")]
pub(crate) struct ServerStatus {}

/// Take over what the agent of a host knows, after a restore from a backup
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server adopt -H local
  homestak-coord server adopt -H father")]
pub(crate) struct Adopt {
    /// The host
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: HostName,
}

/// Write everything that the daemon knows to a file, while it runs
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server backup /root/homestak.backup")]
pub(crate) struct Backup {
    /// The file; it holds secrets and is readable by its owner alone
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Fill an empty state folder from a backup
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord server restore /root/homestak.backup
  homestak-coord server adopt -H local")]
pub(crate) struct Restore {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
