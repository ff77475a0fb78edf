//! What the command line and the daemon say to each other over the unix socket: lines of JSON, each below [`MAX_LINE`].
//!
//! The first line of each side is a [`Greeting`], whose form never changes, so that programs of different builds can tell
//! each other so. Everything after it is only ever spoken between equal builds and may change with any of them: the client
//! sends one [`Request`], the daemon any number of [`Answer`]s, the last of which is [`Answer::Done`] or
//! [`Answer::Refused`]; then the connection ends. A client that goes away early cancels nothing.
//!
//! [`crate::client`] makes such a connection (and a daemon, where there is none); this module knows no socket.

use std::path::PathBuf;

use homestak_protocol::event::Phase;
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::RunId;
use homestak_protocol::message::PveHost;
use homestak_protocol::name::{HostName, NodeName, SiteName};
use homestak_protocol::order::OnError;
use homestak_protocol::path::NodePath;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::documents::{
    AgentsDocument, BackupDocument, DiagnosticDocument, ErrorDocument, JoinDocument, LogLine, LogsDocument,
    ManifestsDocument, NodeDocument, OrphanDocument, OrphansDocument, PlanDocument, PreflightDocument, RunDocument,
    RunSummary, RunsDocument, ServerDocument, StatusDocument, ValidateDocument,
};
use crate::site::secrets::Keys;
use crate::tokens::TokenDocument;

/// The longest line: the document of a tree of 10,000 nodes has some 10 MB, a manifest of as many 2 MB.
pub const MAX_LINE: usize = 32 * 1024 * 1024;

/// The longest first line; it holds two paths, of 4 KiB each at most.
pub const MAX_GREETING: usize = 16 * 1024;

/// The build of this program: its version and a hash of the sources. Two programs of one build speak the same API.
pub const BUILD: &str = env!("HOMESTAK_BUILD");

/// What every greeting begins with.
pub const PROGRAM: &str = "homestak-coord";

/// Exit codes of both programs; `interfaces` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the operation failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: manifest, site, secret or token unusable, or a conflict; nothing was changed.
    Configuration,
    /// 4: somebody cannot be reached, or a folder is in use; nothing was changed.
    Unreachable,
    /// 5: there are differences.
    Differences,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::Unreachable => 4,
            Exit::Differences => 5,
            Exit::Interrupted => 130,
        }
    }
}

/// The first line of either side. Flat, texts and booleans only; unknown keys are ignored and missing ones are empty, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Greeting {
    /// Always [`PROGRAM`].
    pub program: String,
    /// [`BUILD`].
    pub build: String,
    /// The software version, for people.
    pub version: String,
    /// The state folder.
    pub state_dir: String,
    /// The site: an absolute path, or `demo`.
    pub site: String,
    /// From a client: the daemon is asked to end if it is idle, nothing else is wanted on this connection.
    pub make_way: bool,
    /// From a daemon: its process id.
    pub pid: String,
    /// From a daemon: a run is in progress; which. Empty when it is idle.
    pub busy: String,
    /// From a daemon: it ends now, as it was asked to.
    pub making_way: bool,
}

impl Greeting {
    /// Ours, for a state folder and a site.
    pub fn new(state_dir: &str, site: &str) -> Self {
        Self {
            program: PROGRAM.into(),
            build: BUILD.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            state_dir: state_dir.into(),
            site: site.into(),
            ..Self::default()
        }
    }
}

/// Where a manifest comes from. A client reads files itself, so that `/dev/stdin` and relative paths mean what its user means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestSource {
    /// A name: the site's first, then the catalogue's.
    Name(String),
    /// Text that the client has read.
    Text {
        /// What to call it in messages: the absolute path, or `--manifest-json`.
        file: String,
        /// YAML or JSON.
        text: String,
    },
}

/// A tree that a command is about, and how its run is to behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The manifest; `destroy` needs no more than its name.
    pub manifest: ManifestSource,
    /// The host.
    pub host: HostName,
    /// `--on-error`; the manifest's where none.
    pub on_error: Option<OnError>,
    /// `--parallel`: machines of one host at once.
    pub parallel: Option<u16>,
    /// `--depth`: how many levels of nodes.
    pub depth: Option<u32>,
    /// `--timeout`, in milliseconds: the run is cancelled after it.
    pub timeout_ms: Option<u64>,
    /// `--prune`: destroy nodes that are recorded but no longer named.
    pub prune: bool,
    /// `--keep`: `test` leaves what it made when all is well.
    pub keep: bool,
    /// `--skip-preflight`: do not look whether the host is ready.
    #[serde(default)]
    pub skip_preflight: bool,
    /// `--detach`: answer once the run is on disk and the host has been told, do not follow it.
    pub detach: bool,
}

impl RunRequest {
    /// With everything as the manifest says.
    pub fn new(manifest: ManifestSource, host: HostName) -> Self {
        Self {
            manifest,
            host,
            on_error: None,
            parallel: None,
            depth: None,
            timeout_ms: None,
            prune: false,
            keep: false,
            skip_preflight: false,
            detach: false,
        }
    }
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerb {
    /// Build what the manifest names.
    Apply,
    /// Destroy what is recorded.
    Destroy,
    /// Build, verify, destroy.
    Test,
}

impl RunVerb {
    /// As people spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunVerb::Apply => "apply",
            RunVerb::Destroy => "destroy",
            RunVerb::Test => "test",
        }
    }

    /// Parses what [`RunVerb::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        [RunVerb::Apply, RunVerb::Destroy, RunVerb::Test].into_iter().find(|verb| verb.as_str() == text)
    }
}

/// One thing that a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Start a run and (unless detached) follow it. Answers: `Started`, then `Node`s, `Progress` and `Log`, then
    /// [`Document::Run`] or, detached, [`Document::Detached`].
    Run(RunVerb, RunRequest),
    /// Follow a run, in progress or over, as if it had just been started here. Answers as for `Run`.
    Attach {
        /// The run.
        run: RunId,
    },
    /// Say what a verb would do, and do nothing: [`Document::Plan`]. Also `--dry-run`, and what `destroy` asks about.
    Plan(RunVerb, RunRequest),
    /// Check manifests: [`Document::Validate`].
    Validate {
        /// Which.
        manifests: Vec<ManifestSource>,
    },
    /// What is recorded and who is there: [`Document::Status`]. With `watch`, a `Snapshot` after every change, until the
    /// client goes away.
    Status {
        /// The manifest, where one tree is meant; its name is all that counts.
        manifest: Option<ManifestSource>,
        /// A host, where trees of one host are meant; `local` where a manifest is named and no host.
        host: Option<HostName>,
        /// Go on.
        watch: bool,
    },
    /// Runs, the latest first: [`Document::Runs`].
    Runs {
        /// Only this manifest's.
        manifest: Option<ManifestSource>,
        /// Only this host's.
        host: Option<HostName>,
        /// How many at most.
        limit: u32,
    },
    /// What happened in a run: `Log`s (with `follow`, until it is over), then [`Document::Logs`].
    Logs {
        /// The run.
        run: RunId,
        /// Only what a node of this name or path tells.
        node: Option<String>,
        /// Go on until the run is over.
        follow: bool,
    },
    /// Cancel a run. Answers [`Document::Cancelled`] once that is on disk; the run ends on its own connection.
    Cancel {
        /// The run.
        run: RunId,
    },
    /// Look whether a host is ready: [`Document::Preflight`].
    Preflight {
        /// The host.
        host: HostName,
    },
    /// What hosts have that no recorded tree names: [`Document::Orphans`].
    Orphans {
        /// A host, with everything below it; all where none.
        host: Option<HostName>,
        /// Destroy these, if they are still orphans. What else is there is not touched.
        destroy: Option<Vec<OrphanDocument>>,
    },
    /// Who is there: [`Document::Agents`].
    Agents,
    /// Let a host's agent join: [`Document::Join`].
    AgentsJoin {
        /// The host.
        host: HostName,
        /// Its agent has joined before and lost its identity.
        replace: bool,
    },
    /// Take an agent's certificate away: [`Document::Empty`].
    AgentsRevoke {
        /// The agent.
        path: NodePath,
    },
    /// Ask the agent of a host what it is: [`Document::PveHost`], its API token in clear.
    Describe {
        /// The host: itself, or a node that is one.
        at: NodePath,
    },
    /// The manifests that can be named: [`Document::Manifests`].
    ManifestsList,
    /// A manifest in another form: [`Document::Text`].
    ManifestsShow {
        /// Which.
        manifest: ManifestSource,
        /// The form.
        format: ManifestFormat,
    },
    /// Mint a provisioning token with the key that is in force: [`Document::Text`].
    TokenMint {
        /// The node that may show it.
        node: NodeName,
        /// The spec that it may fetch.
        spec: SiteName,
        /// When it was minted, in seconds since 1970; now where none.
        issued_at: Option<u64>,
    },
    /// Look at a token, and whether a key that is in force has signed it: [`Document::Token`].
    TokenInspect {
        /// The token.
        token: String,
    },
    /// How the daemon is: [`Document::Server`].
    ServerStatus,
    /// What clients of the repositories show: [`Document::Text`], empty where none are served.
    RepoToken,
    /// Revoke every provisioning token of a node, by its name or its place: [`Document::Empty`].
    TokenRevoke {
        /// The node.
        node: String,
    },
    /// End the daemon: [`Document::Empty`] when it has begun to end. Runs go on in their agents.
    ServerStop,
    /// Take over what a host's agent knows: [`Document::Status`] of the trees that were taken over.
    Adopt {
        /// The host.
        host: HostName,
    },
    /// Write everything that the daemon must not lose into one new file: [`Document::Backup`].
    Backup {
        /// An absolute path.
        file: PathBuf,
    },
    /// Look at the site again: [`Document::Empty`].
    Reload,
    /// Do not end by yourself, though a command started you: [`Document::Empty`].
    StayUp,
    /// Hold these age identities, in memory and for as long as you live, and look at the site again if they are new to you:
    /// [`Document::Empty`].
    Lend {
        /// The client's.
        keys: Keys,
    },
}

/// How a manifest is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestFormat {
    /// Lines for people.
    Tree,
    /// The schema's own form.
    Yaml,
    /// The same as JSON.
    Json,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

/// One thing that the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The run is on disk and this is how its tree stands. Comes first, once.
    Started(RunView),
    /// A node stands differently.
    Node(Box<LiveNode>),
    /// Long work tells how far it has come.
    Progress {
        /// The node.
        path: NodePath,
        /// The phase.
        phase: Phase,
        /// What is being done.
        text: String,
    },
    /// A line of a run's log.
    Log(LogLine),
    /// How recorded trees stand now; only while watching.
    Snapshot(StatusDocument),
    /// A word to the person at the terminal: warnings, notes. Not part of any document.
    Note(String),
    /// The end: the document and the exit code that goes with it.
    Done {
        /// The exit code.
        exit: Exit,
        /// What `--json` prints, and what tables are made of.
        document: Box<Document>,
    },
    /// The end: it was not done.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The exit code.
    pub exit: Exit,
    /// What was wrong, and what to do.
    pub error: Box<ErrorDocument>,
    /// All that is wrong with the files in question.
    pub diagnostics: Vec<DiagnosticDocument>,
}

impl Refusal {
    /// From a fault, with the exit code that goes with it.
    pub fn new(exit: Exit, fault: &Fault) -> Self {
        Self { exit, error: Box::new(ErrorDocument::from(fault)), diagnostics: Vec::new() }
    }
}

/// What ends a request well. Each holds the document that `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// Done, and there is nothing to say.
    Empty,
    /// Text to be printed as it is.
    Text(String),
    /// `apply`, `destroy`, `test`.
    Run(RunDocument),
    /// The same with `--detach`.
    Detached(RunSummary),
    /// `plan`.
    Plan(PlanDocument),
    /// `validate`.
    Validate(ValidateDocument),
    /// `status`.
    Status(StatusDocument),
    /// `runs`.
    Runs(RunsDocument),
    /// `logs`.
    Logs(LogsDocument),
    /// `cancel`.
    Cancelled(RunSummary),
    /// `preflight`.
    Preflight(PreflightDocument),
    /// `orphans`.
    Orphans(OrphansDocument),
    /// `agents`.
    Agents(AgentsDocument),
    /// `agents join`.
    Join(JoinDocument),
    /// `manifests list`.
    Manifests(ManifestsDocument),
    /// `server status`.
    Server(ServerDocument),
    /// `server backup`.
    Backup(BackupDocument),
    /// `token inspect`.
    Token(TokenDocument),
    /// What the agent of a host says of it, for `site import-node`.
    PveHost(PveHost),
}

/// A run that is followed, as it stands when following begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// What it is.
    pub summary: RunSummary,
    /// How long it has been going on.
    pub elapsed_ms: u64,
    /// Every node, in creation order.
    pub nodes: Vec<LiveNode>,
}

/// A node of a run that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveNode {
    /// As in documents. The last of its phases is the one that it is in, if that is `running`.
    pub node: NodeDocument,
    /// How long it has been worked on, or was.
    pub elapsed_ms: Option<u64>,
    /// How long it has been in the phase that it is in.
    pub waited_ms: Option<u64>,
    /// What was said last in that phase, before following began.
    pub text: Option<String>,
}

impl LiveNode {
    /// One that nothing more happens to.
    pub fn over(node: NodeDocument) -> Self {
        Self { node, elapsed_ms: None, waited_ms: None, text: None }
    }
}

/// Why a line cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket.
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    /// Too long.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// Not the JSON that belongs here.
    #[error("a line is not what belongs here")]
    Json(#[from] serde_json::Error),
    /// It ended in the middle of a line.
    #[error("the connection ended in the middle of a line")]
    Torn,
}

/// Reads one line; none at the end.
pub async fn read_line<T: DeserializeOwned>(
    reader: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> Result<Option<T>, WireError> {
    // Some hold secrets.
    let mut line = Zeroizing::new(Vec::new());
    let room = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(room).read_until(b'\n', &mut line).await?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) if line.len() > limit => Err(WireError::TooLong(limit)),
        Some(_) => Err(WireError::Torn),
    }
}

/// Writes one line.
pub async fn write_line<T: Serialize>(writer: &mut (impl AsyncWrite + Unpin), value: &T) -> Result<(), WireError> {
    let mut line = Zeroizing::new(serde_json::to_vec(value)?);
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(WireError::TooLong(MAX_LINE));
    }
    writer.write_all(&line).await?;
    writer.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_survives_and_a_long_or_torn_one_is_refused() {
        let mut bytes = Vec::new();
        write_line(&mut bytes, &Request::Agents).await.unwrap();
        let length = bytes.len();
        let read = read_line::<Request>(&mut bytes.as_slice(), length).await.unwrap();
        assert_eq!(read, Some(Request::Agents));
        assert!(matches!(read_line::<Request>(&mut bytes.as_slice(), length - 2).await, Err(WireError::TooLong(_))));
        bytes.pop();
        assert!(matches!(read_line::<Request>(&mut bytes.as_slice(), length).await, Err(WireError::Torn)));
        assert!(read_line::<Request>(&mut [].as_slice(), 10).await.unwrap().is_none());
    }

    #[test]
    fn a_greeting_of_any_build_can_be_read() {
        let old: Greeting = serde_json::from_str(r#"{"program":"homestak-coord","build":"x","colour":"red"}"#).unwrap();
        assert_eq!((old.build.as_str(), old.make_way), ("x", false));
        let ours = serde_json::to_string(&Greeting::new("/s", "demo")).unwrap();
        assert!(ours.starts_with(r#"{"program":"homestak-coord","build":""#));
    }
}
