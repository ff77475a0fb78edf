//! The agent of the host `local`: the `homestak-agent` beside our own program, started here and kept alive.
//!
//! One task: it writes the agent's settings, starts it (or finds the one that an earlier daemon has left behind), waits for
//! its end and starts it again, ever more slowly while it keeps ending. It is detached, and outlives a daemon that is
//! killed; a daemon that ends in order takes it along only if there is nothing left to look after.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use homestak_node::notify;
use homestak_node::process::ProcessMark;
use homestak_node::runtime::Handle;
use homestak_node::trust::files::{private_folder, read_private, write_private};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::HostName;
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::endpoint::Endpoint;
use super::folder::{Folder, remove};
use crate::runs::{Engine, Troubles};
use crate::site::secrets::IDENTITIES;
use crate::store::Store;

/// The program's name, beside our own.
const PROGRAM: &str = "homestak-agent";

/// Its settings, in its folder.
const SETTINGS: &str = "agent.yaml";

/// Its log.
const LOG: &str = "agent.log";

/// Where it answers questions.
const SOCKET: &str = "agent.sock";

/// Held by it while it runs; holds its mark.
const LOCK: &str = "lock";

/// The first pause before it is started again.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest: what keeps it from running is looked at by a person by then.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long it must have run for the pauses to begin anew, and for its trouble to be over.
const PROVEN: Duration = Duration::from_secs(5);

/// How often it may end at once before clients are told, instead of being made to wait for it.
const PATIENCE: u32 = 2;

/// How long it may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_millis(700);

/// The size at which its log is put aside when it is started.
const MAX_LOG: u64 = 16 * 1024 * 1024;

/// How much of the end of its log is looked at for its last words.
const LAST_WORDS: u64 = 4096;

/// Variables that would beat its settings file.
const NOT_INHERITED: [&str; 9] = [
    "HOMESTAK_AGENT_CONFIG",
    "HOMESTAK_STATE_DIR",
    "HOMESTAK_SERVER",
    "HOMESTAK_TOKEN",
    "HOMESTAK_CA",
    "HOMESTAK_NAME",
    "HOMESTAK_BIND",
    "HOMESTAK_PORT",
    "HOMESTAK_PROVIDER",
];

/// The agent of `local`, as the daemon's end sees it.
pub(super) struct Local {
    end: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

struct Keeper {
    folder: PathBuf,
    server: String,
    ca: String,
    engine: Engine<Store, Handle>,
    troubled: watch::Sender<Troubles>,
    life: Lifecycle,
}

/// An agent that runs.
enum Agent {
    /// Started by us.
    Child(Child, ProcessMark),
    /// Left behind by an earlier daemon.
    Found(ProcessMark),
}

impl Local {
    /// Starts the task.
    pub(super) fn supervise(
        folder: &Folder,
        endpoint: &Arc<Endpoint>,
        engine: Engine<Store, Handle>,
        troubled: watch::Sender<Troubles>,
        life: &Lifecycle,
    ) -> Self {
        let place = NodePath::host_root(&HostName::local());
        let keeper = Keeper {
            folder: folder.local_agent(),
            server: endpoint.server_near(&place),
            ca: endpoint.pin(),
            engine,
            troubled,
            life: life.clone(),
        };
        let (end, asked) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        // Not tracked: it is the last to end, after everything that may still ask whether there is something to look after.
        tokio::spawn(async move {
            keeper.keep(asked).await;
            let _ = done.send(());
        });
        Self { end, ended }
    }

    /// Lets go of the agent; with `too`, ends it as well.
    pub(super) async fn end(self, too: bool) {
        if too {
            let _ = self.end.send(());
        } else {
            drop(self.end);
        }
        let _ = self.ended.await;
    }
}

impl Keeper {
    async fn keep(&self, mut asked: oneshot::Receiver<()>) {
        let mut pause = PAUSE_MIN;
        let mut failures = 0;
        let agent = loop {
            let started = Instant::now();
            let mut agent = match self.start().await {
                Ok(agent) => Some(agent),
                Err(fault) => {
                    self.trouble(Some(fault));
                    failures = PATIENCE;
                    None
                }
            };
            if let Some(running) = &mut agent {
                let proven = sleep(PROVEN);
                tokio::pin!(proven);
                let mut is_proven = false;
                loop {
                    tokio::select! {
                        () = self.life.ending.cancelled() => break,
                        () = running.ended() => break,
                        () = &mut proven, if !is_proven => {
                            is_proven = true;
                            self.trouble(None);
                            (failures, pause) = (0, PAUSE_MIN);
                        }
                    }
                }
            }
            if self.life.ending.is_cancelled() {
                break agent;
            }
            if agent.is_some() {
                failures += 1;
                tracing::warn!(
                    after_ms = started.elapsed().as_millis(),
                    "the agent of local has ended; starting it again"
                );
                if failures > PATIENCE {
                    self.trouble(Some(self.ends_at_once()));
                }
            }
            tokio::select! {
                () = self.life.ending.cancelled() => break None,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        };
        if let (Ok(()), Some(agent)) = ((&mut asked).await, agent) {
            agent.end().await;
            // Nobody answers there any more.
            remove(&self.folder.join(SOCKET));
        }
    }

    fn trouble(&self, fault: Option<Fault>) {
        self.troubled.send_if_modified(|troubles| {
            let before = match &fault {
                Some(fault) => troubles.insert(HostName::local(), fault.clone()),
                None => troubles.remove(&HostName::local()),
            };
            if let Some(fault) = fault.as_ref().filter(|fault| before.as_ref() != Some(fault)) {
                tracing::error!(%fault, "the agent of local does not run");
            }
            before != fault
        });
    }

    /// Finds the agent that runs, or starts one.
    async fn start(&self) -> Result<Agent, Fault> {
        if !self.folder.parent().is_some_and(Path::is_dir) {
            return Err(Fault::new(Code::Unreachable, "the state folder is gone"));
        }
        private_folder(&self.folder).map_err(|error| unable("its folder cannot be used", &error))?;
        let changed = self.settle().await?;
        if let Some(mark) = self.running() {
            if !changed {
                tracing::info!(pid = mark.pid, "the agent of local runs already");
                return Ok(Agent::Found(mark));
            }
            tracing::info!(pid = mark.pid, "the agent of local is started again with other settings");
            Agent::Found(mark).end().await;
        }
        let own = std::env::current_exe().map_err(|error| unable("this program cannot be found again", &error))?;
        let program = own.with_file_name(PROGRAM);
        if !program.exists() {
            let text = format!("{PROGRAM} is not beside this program ({})", program.display());
            return Err(Fault::new(Code::Unreachable, text).hint("install both programs into the same folder"));
        }
        let log = self.log().map_err(|error| unable("its log cannot be written", &error))?;
        let errors = log.try_clone().map_err(|error| unable("its log cannot be written", &error))?;
        let mut command = Command::new(&program);
        command.arg("run").arg("--config").arg(self.folder.join(SETTINGS));
        NOT_INHERITED.iter().chain(IDENTITIES).chain(&notify::OURS_ALONE).for_each(|name| {
            command.env_remove(name);
        });
        // A group of its own: what interrupts a daemon in a terminal is not meant for it.
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir("/").process_group(0);
        let child = command.spawn().map_err(|error| unable("it cannot be started", &error))?;
        let mark = child.id().and_then(|pid| ProcessMark::of(i32::try_from(pid).ok()?));
        let mark = mark.ok_or_else(|| self.ends_at_once())?;
        tracing::info!(pid = mark.pid, "the agent of local is started");
        Ok(Agent::Child(child, mark))
    }

    /// Writes the agent's settings, with a token where it has to enrol. Says whether one that runs must be started again to
    /// learn of them.
    async fn settle(&self) -> Result<bool, Fault> {
        let file = self.folder.join(SETTINGS);
        let before = read_private(&file).map_err(|error| unable("its settings cannot be read", &error))?;
        let before = before.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let value = |key: &str| {
            let line = before.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
            serde_json::from_str::<String>(line).ok()
        };
        let enrolled = self.folder.join("identity").join("identity.json").exists()
            && value("ca").as_deref() == Some(self.ca.as_str())
            && self.engine.host(&HostName::local()).await?.is_some();
        let token = match value("token").filter(|_| enrolled) {
            Some(token) => Secret::new(token),
            None => self.engine.expect(&HostName::local(), true).await?,
        };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let state_dir = self.folder.display().to_string();
        let text = format!(
            "# Written by the coordinator's daemon, which starts this agent.\n\
             name: local\nserver: {}\ntoken: {}\nca: {}\nport: 0\nstate_dir: {}\nprovider: local\n",
            quoted(&self.server),
            quoted(token.expose()),
            quoted(&self.ca),
            quoted(&state_dir),
        );
        if text == before {
            return Ok(false);
        }
        write_private(&file, text.as_bytes()).map_err(|error| unable("its settings cannot be written", &error))?;
        Ok(true)
    }

    /// The agent that runs in its folder, whoever started it.
    fn running(&self) -> Option<ProcessMark> {
        let text = fs::read_to_string(self.folder.join(LOCK)).ok()?;
        serde_json::from_str(&text).ok().filter(ProcessMark::is_alive)
    }

    fn log(&self) -> io::Result<fs::File> {
        let path = self.folder.join(LOG);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG) {
            fs::rename(&path, self.folder.join("agent.log.1"))?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }

    fn ends_at_once(&self) -> Fault {
        let path = self.folder.join(LOG);
        let words = last_line(&path).map(|line| format!(": {line}")).unwrap_or_default();
        Fault::new(Code::Unreachable, format!("the agent of local ends as soon as it is started{words}"))
            .hint(format!("its log is {}", path.display()))
    }
}

impl Agent {
    async fn ended(&mut self) {
        match self {
            Agent::Child(child, _) => {
                let _ = child.wait().await;
            }
            Agent::Found(mark) => match mark.hold() {
                Ok(Some(held)) => held.ended().await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "the agent of local cannot be watched");
                    std::future::pending().await
                }
            },
        }
    }

    /// Asks it to end, and makes it.
    async fn end(self) {
        let (child, mark) = match self {
            Agent::Child(child, mark) => (Some(child), mark),
            Agent::Found(mark) => (None, mark),
        };
        match mark.hold() {
            Ok(Some(held)) => {
                if let Err(error) = held.end(END_LIMIT).await {
                    tracing::warn!(pid = mark.pid, %error, "the agent of local cannot be ended");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(pid = mark.pid, %error, "the agent of local cannot be ended"),
        }
        if let Some(mut child) = child {
            let _ = child.wait().await;
        }
    }
}

fn unable(what: &str, error: &dyn std::error::Error) -> Fault {
    Fault::new(Code::Unreachable, format!("the agent of local cannot be started: {what}: {error}"))
        .hint("look at the folder `agents/local` of the state folder")
}

/// The last line of a log.
fn last_line(path: &Path) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS))).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_WORDS).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}
