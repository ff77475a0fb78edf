//! What every command works with: the settings, the printer, and the commands that it may propose.

use std::future::Future;

use homestak_coord::api::{Document, Exit, Refusal, Request};
use homestak_coord::client::Client;
use homestak_coord::settings::Settings;
use homestak_coord::site::Site;
use homestak_coord::site::secrets::Keys;
use homestak_node::telemetry::{self, Format, Verbosity};
use homestak_protocol::fault::{Code, Fault};

use super::Outcome;
use super::args::{Globals, LogFormat};
use crate::show::command::Commands;
use crate::show::printer::Printer;

/// What every command works with.
#[derive(Debug)]
pub(super) struct Context {
    /// State folder, site, port.
    pub(super) settings: Settings,
    /// Where output goes.
    pub(super) printer: Printer,
    /// Commands to propose.
    pub(super) commands: Commands,
    /// How much is logged.
    pub(super) verbose: u8,
    log_format: LogFormat,
    quiet: bool,
}

/// The printer that the flags ask for.
pub(super) fn printer(globals: &Globals) -> Printer {
    Printer::new(globals.json, globals.quiet, globals.verbose > 0)
}

impl Context {
    /// Settles flags and environment.
    pub(super) fn new(globals: &Globals, printer: Printer) -> Result<Self, (Printer, Refusal)> {
        let (state_dir, site) = (globals.state_dir.clone(), globals.site.clone());
        let settled = Settings::settle(state_dir, site, globals.port, |name| std::env::var_os(name));
        match settled {
            Err(refusal) => Err((printer, refusal)),
            Ok(settings) => Ok(Self {
                commands: Commands::new(&settings, globals.state_dir.is_some(), globals.site.is_some()),
                settings,
                printer,
                verbose: globals.verbose,
                log_format: globals.log_format,
                quiet: globals.quiet,
            }),
        }
    }

    /// Begins to log, as the flags say on top of what is usual.
    pub(super) fn begin_logging(&self, usual: Verbosity) {
        let format = match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        telemetry::begin(usual.with_flags(self.quiet, self.verbose), format);
    }

    /// The site, for what needs no daemon.
    pub(super) fn site(&self) -> Result<Site, Refusal> {
        Site::open(&self.settings.site, &self.keys()).map_err(|broken| broken.refusal())
    }

    /// The age identities of whoever gives the command.
    pub(super) fn keys(&self) -> Keys {
        Keys::of_user(|name| std::env::var_os(name)).0
    }

    /// Runs a command that waits for sockets.
    pub(super) fn block_on(&self, command: impl Future<Output = Outcome>) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            let fault = Fault::new(Code::Full, format!("this process cannot wait for anything: {error}"))
                .hint("the limit of open files may be reached: see `ulimit -n`");
            Refusal::new(Exit::Failed, &fault)
        })?;
        runtime.block_on(command)
    }

    /// Asks the daemon, starting one where there is none, for its last answer.
    pub(super) async fn ask(&self, request: &Request) -> Result<(Exit, Document), Refusal> {
        Client::open(&self.settings).await?.ask(request).await?.last().await
    }
}

/// The daemon has answered what nobody asked.
pub(super) fn beside_the_point() -> Refusal {
    let fault = Fault::new(Code::Protocol, "the daemon has answered something else than was asked")
        .hint("end it with `homestak-coord server stop` and try again; runs go on below");
    Refusal::new(Exit::Unreachable, &fault)
}
