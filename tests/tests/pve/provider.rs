//! The provider itself, in this process, on a fake host: for what is tried too often to go through a whole tree each time.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use homestak_agent::provider::pve::{Options, Pve, Waits};
use homestak_agent::provider::{Identity, Provider as _};
use homestak_agent::settings::PveSettings;
use homestak_node::crash::Plan;
use homestak_node::https::{ARCH, OwnProgram};
use homestak_node::lifecycle::Lifecycle;
use homestak_node::world::{Boot, Ensure, Ensured, Task};
use homestak_protocol::extras::MachineExtras;
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Incarnation, RunId, SiteId, Vmid};
use homestak_protocol::name::{HostName, ManifestName, SiteName};
use homestak_protocol::order::{CloudInit, Machine, NodeKind};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use homestak_tests::fakepve::FakePve;
use homestak_tests::guests::pct;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The provider of a host.
pub(crate) struct Driver {
    pub(crate) pve: Pve,
    /// Its connections end with it.
    pub(crate) life: Lifecycle,
}

impl Driver {
    /// One with a state folder of its own.
    pub(crate) fn open(host: &FakePve, state: &Path) -> Self {
        Self::with(&host.settings(), state, Waits::default())
    }

    /// One with these settings, and with this patience.
    pub(crate) fn with(settings: &Value, state: &Path, waits: Waits) -> Self {
        let life = Lifecycle::new();
        let settings: PveSettings = PveSettings::read(&settings.to_string()).unwrap();
        let options = Options {
            state: state.to_owned(),
            place: NodePath::parse("father").unwrap(),
            settings,
            inside: None,
            above: None,
            program: Arc::new(OwnProgram::at(Path::new("/bin/true"), ARCH)),
            pct: pct(state),
            qm: state.join("qm/qm"),
            consoles: state.join("consoles"),
            crash: Plan::default(),
            waits,
        };
        Self { pve: Pve::open(options, &life).unwrap(), life }
    }

    pub(crate) async fn ensure(&self, ask: Ensure) -> Result<Ensured, Fault> {
        let machine = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
        let ensured = self.pve.ensure_machine(ask, task()).await?;
        self.pve.start(machine, task()).await?;
        Ok(ensured)
    }

    pub(crate) async fn destroy(&self, machine: Identity) -> Result<(), Fault> {
        self.pve.stop(machine.clone(), task()).await?;
        self.pve.destroy(machine, task()).await
    }

    pub(crate) async fn addresses(&self, machine: Identity) -> Result<Vec<IpAddr>, Fault> {
        self.pve.addresses(machine, task()).await
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.life.ending.cancel();
    }
}

/// A call that nobody cancels.
pub(crate) fn task() -> Task {
    Task { cancel: CancellationToken::new(), progress: Arc::new(|_| {}) }
}

/// A machine to be made.
pub(crate) fn machine(name: &str, kind: NodeKind, vmid: Option<u32>) -> Ensure {
    let tree = TreeId {
        site: SiteId::from_bits(1),
        host: HostName::parse("father").unwrap(),
        manifest: ManifestName::parse("m").unwrap(),
    };
    Ensure {
        path: NodePath::parse(&format!("father/m/{name}")).unwrap(),
        tree,
        incarnation: Incarnation::from_bits(1),
        run: RunId::from_bits(1),
        machine: Machine {
            kind,
            image: Some(SiteName::parse("debian-12").unwrap()),
            cores: 1,
            memory_mib: 1024,
            disk_gib: 4,
            vmid: vmid.and_then(Vmid::new),
            bridge: None,
        },
        cloud_init: CloudInit::default(),
        boot: Boot {
            servers: vec!["192.0.2.1:44443".into()],
            ca: format!("sha256:{}", "ab".repeat(32)),
            ca_pem: None,
            token: Secret::new("token".into()),
        },
        extras: MachineExtras::default(),
    }
}

/// Whose it is.
pub(crate) fn identity(ask: &Ensure) -> Identity {
    Identity { tree: ask.tree.clone(), path: ask.path.clone() }
}
