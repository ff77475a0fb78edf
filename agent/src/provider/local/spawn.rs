//! Starting a machine: a process of this program, detached, that knows everything from a file.
//!
//! It is in a process group of its own, has no terminal, and writes to its own log, so it outlives whoever started it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use homestak_node::process::ProcessMark;
use homestak_node::trust::pin::CaPin;
use homestak_node::world::Boot;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::HostName;
use homestak_protocol::order::NodeKind;

use super::record::{Record, boot_path, state_path};
use crate::files::FILE_MODE;
use crate::settings::{AgentFile, LocalSection, ProviderKind, Servers};

/// Names a program that is run in place of the agent of each machine, with the same arguments: a test's, which boots a real
/// machine and starts the agent inside it. Its process is the machine's: it ends when the machine does.
pub const SPAWN: &str = "HOMESTAK_LOCAL_SPAWN";

/// What a machine inherits of its maker's environment. Everything else it is told by its file; nothing here is secret.
const INHERITED: [&str; 9] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "HOMESTAK_LOG",
    "HOMESTAK_CRASH_AT",
    "HOMESTAK_LOCAL_FAULTS",
    "HOMESTAK_LOCAL_LINKS",
];

/// How long a log may get before the one before it is given up. A machine writes a few lines an hour.
pub(super) const MAX_LOG: u64 = 4 * 1024 * 1024;

/// How machines are started.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Launcher {
    /// Starts machines with this program, which is a homestak-agent, and with what they inherit of this environment.
    pub fn new(program: PathBuf, environment: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let environment = environment.filter(|(name, _)| INHERITED.iter().any(|inherited| name == inherited)).collect();
        Self { program, environment }
    }

    /// Starts the machine in `folder` and says who it is now.
    pub(super) fn spawn(&self, folder: &Path) -> io::Result<ProcessMark> {
        let log = open_log(&folder.join("log"))?;
        let mut child = Command::new(&self.program)
            .arg0("homestak-agent")
            .args(["run", "--config"])
            .arg(boot_path(folder))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        if let Some(mark) = ProcessMark::of(child.id().cast_signed()) {
            // Whoever holds it collects it.
            return Ok(mark);
        }
        let status = child.wait()?;
        Err(io::Error::other(format!("the machine's agent ended at once ({status}); its log says why")))
    }
}

/// Opens a log to be added to. One that is too long becomes the one before.
fn open_log(path: &Path) -> io::Result<fs::File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > MAX_LOG) {
        fs::rename(path, path.with_extension("old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// What the agent of the machine in `folder` is told: the text of its `agent.yaml`.
pub(super) fn boot_text(folder: &Path, record: &Record, boot: &Boot) -> Result<String, Fault> {
    let internal = |what: String| Fault::new(Code::Internal, what).at(&record.path);
    let file = AgentFile {
        name: HostName::parse(record.path.name()).ok(),
        server: Some(Servers::new(boot.servers.clone())),
        token: Some(boot.token.clone()),
        ca: Some(CaPin::parse(&boot.ca).map_err(|error| internal(error.to_string()))?),
        bind: Some(record.ip.into()),
        port: Some(0),
        state_dir: Some(state_path(folder)),
        provider: (record.machine.kind == NodeKind::Pve).then_some(ProviderKind::Local),
        pve: None,
        local: Some(LocalSection { machine: folder.to_owned() }),
    };
    file.to_text().map_err(internal)
}
