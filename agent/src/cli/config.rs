//! `config fetch`, `config apply` and `config check`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use homestak_node::world::Task;
use homestak_protocol::fault::Fault;
use homestak_protocol::name::HostName;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::printer::Printer;
use crate::config::fetch::{self, Ask, BY_HAND, Trust};
use crate::config::spec::NodeSpec;
use crate::config::{self, ConfigError, Deed, Report, Standing, System, Target, ansible, engine, marker};
use crate::failure::{Exit, Failure, IN_USE, Place, SETTINGS};
use crate::files::{FileError, from_yaml, private_folder};
use crate::run::parents;
use crate::settings::{Flags, Settings};

/// Lengthens or shortens the waits between attempts to fetch; for tests.
const SCALE: &str = "HOMESTAK_FETCH_SCALE";
/// Where the state of a folder that stands for a machine lies in it.
const STATE_BELOW: &str = "var/lib/homestak";

const EXAMPLES: &str = "\
Examples:
  homestak-agent config fetch              get this machine's spec from its parent and keep it
  homestak-agent config apply --dry-run    what applying it would change, line by line
  homestak-agent config apply              apply it; a second time changes nothing
  homestak-agent config check --detailed-exitcode
                                           ends with 5 where something is not as the spec has it
  homestak-agent config apply --spec base.yaml --root /mnt
                                           write into a folder what can be written; the rest is simulated";

/// Fetch, apply and check this machine's spec
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Get this machine's spec from its parent and keep it in the state folder
    Fetch {
        /// Trust whoever answers: the token may fall into anybody's hands
        #[arg(long)]
        insecure: bool,
    },
    /// Make this machine what its spec says: 0 applied, 1 spec missing or invalid, 2 not applied
    Apply {
        #[command(flatten)]
        on: On,
        /// Change nothing; show what would be changed
        #[arg(long)]
        dry_run: bool,
        /// With --dry-run, end with 5 where there are differences
        #[arg(long, requires = "dry_run")]
        detailed_exitcode: bool,
        /// What does it: this program, or ansible-playbook
        #[arg(long, value_enum, default_value_t = Backend::Native)]
        backend: Backend,
    },
    /// Set the network back to what it was before a change of it that nobody has found to be good
    #[command(hide = true)]
    NetworkBack,
    /// Show how this machine is not what its spec says
    Check {
        #[command(flatten)]
        on: On,
        /// End with 5 where there are differences
        #[arg(long)]
        detailed_exitcode: bool,
    },
}

/// What is applied, and to what.
#[derive(Debug, Args)]
struct On {
    /// Spec [default: spec.yaml of the state folder]
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Write below this folder, and simulate what takes a program; `apply` makes it where it is missing
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Native,
    Ansible,
}

/// Does it, and gives the exit code.
pub(super) async fn perform(
    config: &Config,
    flags: &Flags,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    match &config.what {
        What::Fetch { insecure } => get(settings, *insecure, printer).await.map(|()| 0),
        What::Apply { on, dry_run, detailed_exitcode, backend } => {
            let work = Work::prepare(on, !dry_run, flags, settings, printer)?;
            match (dry_run, backend) {
                (true, Backend::Native) => work.check(printer, *detailed_exitcode, true).await,
                (_, Backend::Native) => work.apply(printer).await,
                (dry_run, Backend::Ansible) => work.by_ansible(printer, *dry_run).await,
            }
        }
        What::NetworkBack => {
            let gone = config::way_back::go(&settings.state_dir, task(printer)).await;
            let gone = gone.map_err(|trouble| not_done(&ConfigError::from(trouble).into()))?;
            printer.data(
                &json!({ "success": true, "changed": gone }),
                if gone { "it is back" } else { "there is nothing to undo" },
            );
            Ok(0)
        }
        What::Check { on, detailed_exitcode } => {
            Work::prepare(on, false, flags, settings, printer)?.check(printer, *detailed_exitcode, false).await
        }
    }
}

async fn get(settings: &Settings, insecure: bool, printer: &Printer) -> Result<(), Failure> {
    let missing = |what: &str, hint: &str| Failure::new(Exit::Configuration, SETTINGS, what, hint);
    let servers = settings.servers.as_slice().to_vec();
    if servers.is_empty() {
        return Err(missing("no server is known", "give one as --server or HOMESTAK_SERVER: https://HOST:PORT"));
    }
    let token = settings.token.clone();
    let enrolled = settings.ca.and_then(|pin| fetch::enrolled(&settings.state_dir, pin, token.as_ref()));
    if token.is_none() && (insecure || enrolled.is_none()) {
        return Err(missing("there is no token", "give it as HOMESTAK_TOKEN, or `token` in the file"));
    }
    let trust = match (insecure, settings.ca) {
        (false, Some(pin)) => Trust::Pin(pin),
        (false, None) => {
            let hint = "give it as --ca or HOMESTAK_CA, as the server prints it; --insecure does without";
            return Err(missing("the pin of the server's CA is not known", hint));
        }
        (true, _) => {
            printer.warning("--insecure: whoever answers gets this machine's token, and may send it any spec");
            Trust::Anybody
        }
    };
    // A machine may have been given another host name than its node's by its spec.
    let place = enrolled.as_ref().and_then(|identity| identity.enrolled()).map(|enrolled| enrolled.path.clone());
    let identity = match (&settings.name, place) {
        (None, Some(place)) if !place.is_host() => place.name().to_owned(),
        _ => node_name(settings),
    };
    let scale: f64 = std::env::var(SCALE).ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let state = &settings.state_dir;
    private_folder(state).map_err(|error| Failure::machine("making the state folder", error))?;
    let seconds = BY_HAND.iter().copied().map(Duration::from_secs);
    let waits = seconds.map(|wait| wait.mul_f64(scale.clamp(0.0, 10.0))).collect();
    let ask = Ask { servers, token, trust, identity, waits };
    let got = fetch::fetch(&ask, state, &task(printer)).await.map_err(|no| {
        let exit = match (no.unreachable, no.transient) {
            (true, _) => Exit::Unreachable,
            (false, true) => Exit::Failed,
            (false, false) => Exit::Configuration,
        };
        Failure::new(exit, &no.code, no.message.as_str(), no.hint())
    })?;
    let file = state.join(marker::SPEC);
    let document = json!({
        "success": true, "spec": got.spec, "server": format!("https://{}", got.server), "attempts": got.attempts,
        "file": file,
    });
    printer.data(&document, format_args!("{}: the spec {}, from {}", file.display(), got.spec, got.server));
    Ok(())
}

/// This node's name: as it was told, else the machine's.
fn node_name(settings: &Settings) -> String {
    let told = settings.name.as_ref().map(HostName::as_str).map(str::to_owned);
    told.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

fn task(printer: &Printer) -> Task {
    let progress = printer.progress();
    Task { cancel: CancellationToken::new(), progress: Arc::new(move |text| progress(&text)) }
}

/// A spec, and what it is applied to.
struct Work {
    spec: NodeSpec,
    name: String,
    node: String,
    target: Target,
}

impl Work {
    /// `makes` says whether a folder that stands for a machine is made where it is missing.
    fn prepare(on: &On, makes: bool, flags: &Flags, settings: &Settings, printer: &Printer) -> Result<Self, Failure> {
        let told =
            flags.state_dir.is_some() || std::env::var_os("HOMESTAK_STATE_DIR").is_some_and(|dir| !dir.is_empty());
        let (system, state) = match &on.root {
            None => (System::Machine, settings.state_dir.clone()),
            Some(root) if told => (System::Folder(root.clone()), settings.state_dir.clone()),
            Some(root) => (System::Folder(root.clone()), root.join(STATE_BELOW)),
        };
        let file = on.spec.clone().unwrap_or_else(|| state.join(marker::SPEC));
        let spec = read_spec(&file)?;
        if let System::Folder(root) = &system {
            there_is(root, makes)?;
        }
        if system == System::Machine && !rustix::process::geteuid().is_root() {
            let hint = "run it as root, or try it in a folder with --root";
            return Err(Failure::new(
                Exit::Usage,
                SETTINGS,
                "only root can look at all of this machine, and change it",
                hint,
            ));
        }
        private_folder(&state).map_err(|error| Failure::machine("making the state folder", error))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            spec,
            name,
            node: node_name(settings),
            target: Target { system, state, parent: parents(settings), task: task(printer) },
        })
    }

    async fn check(&self, printer: &Printer, detailed: bool, would_apply: bool) -> Result<u8, Failure> {
        let resources = config::spec_resources(&self.spec, &self.node, &self.target.system);
        let ended = engine::run(&resources, &self.target, Deed::Check).await;
        let report = ended.map_err(|trouble| not_done(&ConfigError::from(trouble).into()))?;
        if let Some(fault) = report.fault() {
            let mut failure = not_done(&fault);
            failure.exit = if would_apply { Exit::NotApplied } else { Exit::Failed };
            printer.failure_with(&failure, self.document(&report, "dry_run", would_apply), &text(&report, true));
            return Ok(failure.exit.code());
        }
        let differs = report.count(Standing::Differs) > 0;
        printer.data(&self.document(&report, "dry_run", would_apply), text(&report, true));
        Ok(if differs && detailed { Exit::Differences.code() } else { 0 })
    }

    async fn apply(&self, printer: &Printer) -> Result<u8, Failure> {
        let applied = config::apply_spec(&self.spec, &self.name, &self.node, &self.target).await;
        let report = applied.map_err(|error| match error {
            ConfigError::Busy => {
                let hint = "wait until it has ended: the agent here applies what it is ordered to, and looks for drift";
                Failure::new(Exit::Unreachable, IN_USE, error.to_string(), hint)
            }
            error => not_done(&error.into()),
        })?;
        let document = self.document(&report, "dry_run", false);
        match report.fault() {
            None => {
                printer.data(&document, text(&report, false));
                Ok(0)
            }
            Some(fault) => {
                printer.failure_with(&not_done(&fault), document, &text(&report, false));
                Ok(Exit::NotApplied.code())
            }
        }
    }

    async fn by_ansible(&self, printer: &Printer, dry_run: bool) -> Result<u8, Failure> {
        if self.target.simulated() {
            let hint = "leave --root out, or use the native backend";
            return Err(Failure::new(Exit::Usage, SETTINGS, "ansible works on this machine, not in a folder", hint));
        }
        if self.spec.network.is_some() {
            printer.warning("`network` of the spec is left as it is: only the native backend sets it up");
        }
        let ran = ansible::apply(&self.spec, &self.name, &self.node, &self.target, dry_run).await;
        let changed = ran.map_err(|error| not_done(&error.into()))?;
        let document = json!({
            "success": true, "backend": "ansible", "dry_run": dry_run, "simulated": false, "spec": self.name,
            "changed": changed, "error": null,
        });
        printer.data(&document, format_args!("ansible: {changed} changed"));
        Ok(0)
    }

    fn document(&self, report: &Report, key: &str, dry_run: bool) -> Value {
        json!({
            "success": report.count(Standing::Failed) == 0,
            key: dry_run,
            "backend": "native",
            "simulated": self.target.simulated(),
            "spec": self.name,
            "changed": report.count(Standing::Changed),
            "differences": report.count(Standing::Differs),
            "failed": report.count(Standing::Failed),
            "skipped": report.count(Standing::Skipped),
            "resources": report.lines,
            "error": null,
        })
    }
}

/// Sees to it that a folder is there that stands for a machine.
fn there_is(root: &Path, makes: bool) -> Result<(), Failure> {
    if root.is_dir() {
        return Ok(());
    }
    let refused = |message: String, hint: &str| Failure::new(Exit::Usage, SETTINGS, message, hint);
    if !makes {
        let hint = "--root names a folder that is there; `config apply --root` makes one";
        return Err(refused(format!("there is no folder {}", root.display()), hint));
    }
    // As a machine's root is: everybody may enter.
    std::fs::create_dir_all(root).map_err(|error| {
        refused(format!("{} cannot be made: {error}", root.display()), "--root names a folder, or a place for one")
    })
}

/// Reads a spec as a person may have written it.
fn read_spec(file: &Path) -> Result<NodeSpec, Failure> {
    let unusable = |message: String, hint: &str| Failure::new(Exit::NoSpec, "E400", message, hint);
    let text = std::fs::read_to_string(file).map_err(|error| {
        let hint = "`homestak-agent config fetch` gets it from the parent; --spec names another file";
        let failure = Failure::new(Exit::NoSpec, "E200", format!("there is no spec at {}", file.display()), hint);
        failure.because(FileError::of(file, "read")(error))
    })?;
    let spec: NodeSpec = from_yaml(&text).map_err(|error| {
        let failure =
            unusable(format!("the spec cannot be used: {}", error.message), "correct it there, or in the site");
        match error.place {
            Some((line, column)) => {
                let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
                failure.at(Place { file: file.to_owned(), line, column, text: shown })
            }
            None => failure,
        }
    })?;
    spec.of_known_version().map_err(|why| unusable(format!("the spec cannot be used: {why}"), "take another version"))
}

/// The spec is there, and could not be applied.
fn not_done(fault: &Fault) -> Failure {
    let mut failure = Failure::from(fault.clone());
    failure.exit = Exit::NotApplied;
    failure
}

/// A report for people.
fn text(report: &Report, with_diffs: bool) -> String {
    let mut out = String::new();
    for line in &report.lines {
        let what = line.error.as_ref().or(line.difference.as_ref()).map_or("", String::as_str);
        let status = match line.status {
            Standing::Unchanged => "unchanged",
            Standing::Changed => "changed",
            Standing::Differs => "differs",
            Standing::Failed => "failed",
            Standing::Skipped => "skipped",
        };
        let _infallible = writeln!(out, "{}", format!("{status:<10} {:<20} {what}", line.resource).trim_end());
        if let (true, Some(diff)) = (with_diffs, &line.diff) {
            diff.lines().for_each(|line| {
                let _infallible = writeln!(out, "    {line}");
            });
        }
    }
    let counts = [
        ("changed", Standing::Changed),
        ("different", Standing::Differs),
        ("failed", Standing::Failed),
        ("skipped", Standing::Skipped),
        ("unchanged", Standing::Unchanged),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(name, standing)| (name, standing, report.count(standing)))
        .filter(|(_, standing, count)| *count > 0 || *standing == Standing::Changed)
        .map(|(name, _, count)| format!("{name}: {count}"))
        .collect();
    out.push_str(&counts.join(", "));
    out
}
