//! The command line: what was asked for, done by asking the daemon, told by the printer.
//!
//! [`read`] parses, [`run`] does. Commands about manifests alone need no daemon; all others are its clients.

mod agents;
mod args;
mod completions;
mod config;
mod context;
mod destroy;
mod follow;
mod import;
mod logs;
mod manifests;
mod orphans;
mod plan;
mod preflight;
mod remedy;
mod runs;
mod secrets;
mod server;
mod signals;
mod site;
mod source;
mod status;
mod token;
mod usage;
mod validate;
mod verb;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use homestak_coord::api::{Exit, Refusal};
use homestak_node::telemetry::Verbosity;

use self::args::{Agents, AgentsCommand, Cli, Command, Manifest, Manifests, Server, Start};
use self::context::Context;

/// What a command comes to: an exit code, or a refusal that it has not told anybody about yet.
type Outcome = Result<Exit, Refusal>;

/// Reads the command line; help, version and wrong usage end here.
pub(crate) fn read(args: impl Iterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let args: Vec<OsString> = args.collect();
    Cli::try_parse_from(&args).map_err(|error| usage::tell(&error, &args))
}

/// Does what was asked for.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let printer = context::printer(&cli.globals);
    let context = match Context::new(&cli.globals, printer) {
        Ok(context) => context,
        Err((printer, refusal)) => return usage::finish(&printer, Err(refusal)),
    };
    context.begin_logging(match &cli.command {
        Command::Server(Server::Run(_) | Server::Start(Start { foreground: true, .. })) => Verbosity::Usual,
        _ => Verbosity::Warnings,
    });
    let outcome = match cli.command {
        Command::Completions(given) => completions::print(&context, given.shell),
        Command::CrashPoints => completions::crash_points(&context),
        Command::Validate(given) | Command::Manifest(Manifest::Validate(given)) => validate::run(&context, &given),
        Command::Manifests(Manifests::List(_)) => manifests::list(&context),
        Command::Manifests(Manifests::Show(given)) => manifests::show(&context, &given),
        Command::Config(given) => config::run(&context, &given),
        Command::Site(given) => site::run(&context, &given),
        Command::Token(given) => token::run(&context, &given),
        Command::Secrets(given) => secrets::run(&context, &given),
        command => context.block_on(ask(&context, command)),
    };
    usage::finish(&context.printer, outcome)
}

/// The commands that need the daemon, or are it.
async fn ask(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Apply(given) | Command::Manifest(Manifest::Apply(given)) => verb::apply(context, &given).await,
        Command::Destroy(given) | Command::Manifest(Manifest::Destroy(given)) => destroy::run(context, &given).await,
        Command::Test(given) | Command::Manifest(Manifest::Test(given)) => verb::test(context, &given).await,
        Command::Preflight(given) => preflight::run(context, &given).await,
        Command::Orphans(given) => orphans::run(context, &given).await,
        Command::Plan(given) => plan::run(context, &given).await,
        Command::Status(given) => status::run(context, &given).await,
        Command::Runs(given) => runs::list(context, &given).await,
        Command::Logs(given) => logs::run(context, &given).await,
        Command::Cancel(given) => runs::cancel(context, &given).await,
        Command::Agents(Agents { command: None }) => agents::list(context).await,
        Command::Agents(Agents { command: Some(AgentsCommand::Join(given)) }) => agents::join(context, &given).await,
        Command::Agents(Agents { command: Some(AgentsCommand::Revoke(given)) }) => {
            agents::revoke(context, &given).await
        }
        Command::Server(Server::Start(given)) => server::start(context, &given).await,
        Command::Server(Server::Stop(_)) => server::stop(context).await,
        Command::Server(Server::Status(_)) => server::status(context).await,
        Command::Server(Server::Run(given)) => server::run(context, &given).await,
        Command::Server(Server::Adopt(given)) => server::adopt(context, &given).await,
        Command::Server(Server::Backup(given)) => server::backup(context, &given).await,
        Command::Server(Server::Restore(given)) => server::restore(context, &given).await,
        // Done without a runtime, by the caller.
        Command::CrashPoints
        | Command::Completions(_)
        | Command::Validate(_)
        | Command::Manifests(_)
        | Command::Config(_)
        | Command::Site(_)
        | Command::Token(_)
        | Command::Secrets(_)
        | Command::Manifest(_) => Ok(Exit::Done),
    }
}
