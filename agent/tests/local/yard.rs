//! A yard with machines that are real agents, and waiting for what is to come about.
//!
//! Nothing has to be swept up after a failed test: its folder goes, and agents end with their folders.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homestak_agent::provider::local::record::Record;
use homestak_agent::provider::local::{Launcher, Local, Options};
use homestak_agent::provider::{Identity, Provider};
use homestak_node::crash::Plan;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::process::ProcessMark;
use homestak_node::world::{Boot, Ensure, Ensured, Task};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Incarnation, RunId, SiteId, Vmid};
use homestak_protocol::name::{HostName, ManifestName, SiteName};
use homestak_protocol::order::{CloudInit, Machine, NodeKind};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_homestak-agent");

/// How long anything may take before a test gives up on it. Generous: other tests want the processors too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until a look finds something.
pub(crate) async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "never came about: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

pub(crate) fn identity(text: &str) -> Identity {
    let path = path(text);
    let manifest = ManifestName::parse(path.manifest().unwrap()).unwrap();
    Identity { tree: TreeId { site: SiteId::from_bits(1), host: HostName::local(), manifest }, path }
}

pub(crate) fn task() -> Task {
    Task { cancel: CancellationToken::new(), progress: Arc::new(|_| {}) }
}

pub(crate) fn ask(text: &str) -> Ensure {
    let identity = identity(text);
    Ensure {
        tree: identity.tree,
        path: identity.path,
        incarnation: Incarnation::from_bits(7),
        run: RunId::from_bits(1),
        machine: Machine {
            kind: NodeKind::Vm,
            image: Some(SiteName::parse("debian-12").unwrap()),
            cores: 2,
            memory_mib: 2048,
            disk_gib: 20,
            vmid: None,
            bridge: None,
        },
        cloud_init: CloudInit::default(),
        extras: Default::default(),
        boot: Boot {
            // Nobody answers there: the agent goes on asking, which is all that is wanted of it here.
            servers: vec!["127.0.0.1:9".into()],
            ca: format!("sha256:{}", "ab".repeat(32)),
            ca_pem: None,
            token: Secret::new("token-that-nobody-may-see".into()),
        },
    }
}

pub(crate) fn with_vmid(text: &str, vmid: u32) -> Ensure {
    let mut ask = ask(text);
    ask.machine.vmid = Vmid::new(vmid);
    ask
}

/// A provider over a state folder, and its end.
pub(crate) struct Yard {
    pub(crate) local: Local,
    pub(crate) life: Lifecycle,
    pub(crate) state: PathBuf,
}

impl Yard {
    pub(crate) fn open(state: &Path) -> Self {
        let life = Lifecycle::new();
        let environment = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let secret = [(OsString::from("HOMESTAK_TOKEN"), OsString::from("token-of-somebody-else"))];
        let options = Options {
            state: state.to_owned(),
            place: path("local"),
            launcher: Launcher::new(AGENT.into(), environment.chain(secret)),
            inside: None,
            crash: Plan::default(),
        };
        let local = Local::open(options, &life).unwrap();
        Self { local, life, state: state.to_owned() }
    }

    /// Makes and starts a machine.
    pub(crate) async fn ensure(&self, ask: Ensure) -> Result<Ensured, Fault> {
        let identity = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
        if let Some(image) = ask.machine.image.clone() {
            self.local.ensure_image(image, task()).await?;
        }
        let ensured = self.local.ensure_machine(ask, task()).await?;
        self.local.start(identity, task()).await?;
        Ok(ensured)
    }

    pub(crate) async fn destroy(&self, text: &str) {
        let identity = identity(text);
        self.local.stop(identity.clone(), task()).await.unwrap();
        self.local.destroy(identity, task()).await.unwrap();
    }

    pub(crate) fn folder(&self, text: &str) -> PathBuf {
        self.state.join("machines").join(identity(text).tag().as_str())
    }

    pub(crate) fn record(&self, text: &str) -> Record {
        Record::read(&self.folder(text)).unwrap().expect("the machine is on record")
    }

    pub(crate) fn process(&self, text: &str) -> ProcessMark {
        self.record(text).process.expect("its process is on record")
    }

    /// Waits until the machine's agent has its state folder, so that it is past its beginning.
    pub(crate) async fn settled(&self, text: &str) -> ProcessMark {
        let state = self.folder(text).join("state");
        until("the machine's agent is up", || {
            homestak_agent::state::holder(&state).filter(|_| state.join("agent.sock").exists())
        })
        .await
    }

    /// The maker's end, without its machines'.
    pub(crate) async fn leave(self) -> PathBuf {
        self.life.ending.cancel();
        self.life.drained().await;
        self.state
    }
}
