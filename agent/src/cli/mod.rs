//! The command line: what may be asked, and where the answers go.
//!
//! Data goes to stdout, everything else to stderr. With `--json` stdout holds exactly one document, also on failure.

mod ask;
mod config;
mod printer;
mod seed;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use homestak_node::telemetry::{self, Format, Verbosity};

use self::printer::Printer;
use crate::cloud_init;
use crate::failure::{Exit, Failure, USAGE};
use crate::run;
use crate::settings::{Flags, Settings};

const EXAMPLES: &str = "\
Examples:
  HOMESTAK_SERVER=https://192.0.2.1:44443 HOMESTAK_TOKEN=… HOMESTAK_CA=sha256:… homestak-agent run
                                           join that parent, and stay
  homestak-agent status                    how the agent on this machine stands
  homestak-agent status --json | jq .trees
  homestak-agent config apply --dry-run    what applying this machine's spec would change
  homestak-agent unit > /etc/systemd/system/homestak-agent.service
  homestak-agent facts                     what this machine would tell its parent of itself";

/// Makes the machines below this one, configures this one, and tells its parent
#[derive(Debug, Parser)]
#[command(name = "homestak-agent", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Print one JSON document
    #[arg(long, visible_alias = "json-output", global = true)]
    json: bool,
    /// Tell more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Tell nothing
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Write log lines for people, or as one object a line
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: enrol if need be, dial the parent, serve children
    Run,
    /// Enrol with the parent and end
    Enrol,
    /// Show how the agent in this state folder stands
    Status,
    /// Show what is known of this machine
    Facts,
    /// Fetch, apply and check this machine's spec
    Config(config::Config),
    /// Print the systemd unit that runs the agent
    Unit,
    #[command(hide = true)]
    CloudInit(seed::Seed),
    /// Put the network back, after the agent has changed it and died
    #[command(hide = true)]
    PutBridgeBack,
    /// Print the points at which a test may have this program killed
    #[command(hide = true)]
    CrashPoints,
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // What is not understood may well have asked for JSON.
    let wants_json = arguments.iter().any(|argument| argument == "--json" || argument == "--json-output");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, wants_json),
    };
    let usual = if matches!(cli.command, Command::Run) { Verbosity::Usual } else { Verbosity::Warnings };
    let format = match cli.output.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    telemetry::begin(usual.with_flags(cli.output.quiet, cli.output.verbose), format);
    let printer = Printer { json: cli.output.json, quiet: cli.output.quiet };
    match perform(&cli, &printer) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

fn perform(cli: &Cli, printer: &Printer) -> Result<u8, Failure> {
    match cli.command {
        Command::Completions { shell } => return ask::completions(shell, &mut Cli::command(), printer).map(|()| 0),
        Command::CrashPoints => return ask::crash_points(printer).map(|()| 0),
        Command::Unit => {
            printer.text(cloud_init::UNIT.trim_end());
            return Ok(0);
        }
        _ => {}
    }
    let told = told_by_unit(&cli.flags);
    let env = |name: &str| std::env::var_os(name).or_else(|| told.get(name).map(OsString::from));
    let settings = Settings::settle(&cli.flags, env)?;
    match &cli.command {
        Command::Config(what) => block_on(config::perform(what, &cli.flags, &settings, printer)),
        Command::CloudInit(what) => seed::write(what, &settings, printer).map(|()| 0),
        Command::Run => block_on(run::run(settings, |name| std::env::var_os(name))).map(|()| 0),
        Command::Enrol => block_on(ask::enrol(&settings, printer)).map(|()| 0),
        Command::PutBridgeBack => block_on(ask::put_bridge_back(&settings)).map(|()| 0),
        Command::Status => block_on(ask::status(&settings, printer)).map(|()| 0),
        _ => ask::facts(&settings, printer).map(|()| 0),
    }
}

/// What the unit of this machine's agent tells it: whoever asks by hand is told the same. Not where a state folder or a
/// settings file is named, which are another agent's.
fn told_by_unit(flags: &Flags) -> BTreeMap<String, String> {
    let named = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let by_flag = flags.state_dir.is_some() || flags.config.is_some();
    if by_flag || named("HOMESTAK_STATE_DIR") || named("HOMESTAK_AGENT_CONFIG") {
        return BTreeMap::new();
    }
    // Root alone can read it, and root alone configures this machine.
    std::fs::read_to_string(cloud_init::ENVIRONMENT).map(|text| cloud_init::variables(&text)).unwrap_or_default()
}

/// One thread carries everything: an agent waits, mostly, and should be small meanwhile.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::machine("starting the runtime", error))?;
    let result = runtime.block_on(work);
    // What still waits for a disk does not keep the process.
    runtime.shutdown_background();
    result
}

/// How many calls may wait for the disk at once. Each is a thread; machines are made a few at a time.
const BLOCKING_THREADS: usize = 4;

/// What clap could not understand, or its answer to `--help` and `--version`.
fn misunderstood(error: &clap::Error, wants_json: bool) -> ExitCode {
    if !error.use_stderr() {
        // Nobody reads what cannot be printed.
        let _unheard = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let said = text.split("\n\nFor more information").next().unwrap_or(&text).trim_end();
    let mut lines = said.trim_start_matches("error: ").splitn(2, '\n');
    let message = lines.next().unwrap_or_default();
    let failure = Failure::new(Exit::Usage, USAGE, message, "`homestak-agent --help` shows what there is");
    Printer { json: wants_json, quiet: false }
        .misunderstanding(&failure, lines.next().unwrap_or_default().trim_matches('\n'));
    ExitCode::from(Exit::Usage.code())
}
