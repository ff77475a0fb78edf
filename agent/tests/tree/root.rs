//! A root to hang a host's agent on: a core with a hub, in this process, as a coordinator has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homestak_agent::provider::Identity;
use homestak_agent::provider::local::record::Record;
use homestak_agent::settings::{AgentFile, ProviderKind, Servers};
use homestak_node::core::unseen;
use homestak_node::crash::Plan;
use homestak_node::journal::file::FileJournal;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::link::MAILBOX;
use homestak_node::runtime::{self, BootParts, Handle, RootOrder, TreeSnapshot};
use homestak_node::transport::hub::{Hub, HubOptions};
use homestak_node::transport::pair::bind_pair;
use homestak_node::trust::ca::Ca;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::pin::CaPin;
use homestak_node::world::NoWorld;
use homestak_protocol::event::NodeView;
use homestak_protocol::ids::{Generation, RunId, SiteId};
use homestak_protocol::name::{HostName, ManifestName, NodeName, SiteName};
use homestak_protocol::order::{
    ChildOrder, CloudInit, Configuration, Directive, Machine, NodeKind, OpaqueOrder, Order, Own, Policy, Spec, Verb,
};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until a look finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "never came about: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A node of a manifest.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) kind: NodeKind,
    pub(crate) below: Vec<Node>,
}

pub(crate) fn vm(name: &'static str) -> Node {
    Node { name, kind: NodeKind::Vm, below: Vec::new() }
}

pub(crate) fn pve(name: &'static str, below: Vec<Node>) -> Node {
    Node { name, kind: NodeKind::Pve, below }
}

/// The root, and the host's agent as a process.
pub(crate) struct Root {
    pub(crate) handle: Handle,
    pub(crate) state: PathBuf,
    agent: Mutex<Child>,
    start: Box<dyn Fn() -> Child>,
    life: Lifecycle,
}

impl Root {
    /// Starts both, and waits until the host has joined. `env` is what tests want to go wrong.
    pub(crate) async fn start(top: &Path, env: &[(&str, &str)]) -> Self {
        let life = Lifecycle::new();
        let ca = Arc::new(Ca::load_or_create(&top.join("ca"), Clock::system()).unwrap());
        let (udp, _tcp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        let (told, events) = tokio::sync::mpsc::channel(MAILBOX);
        let hub = Hub::bind(HubOptions::new(udp, "0"), Arc::clone(&ca), told).unwrap();
        let (address, pin): (_, CaPin) = (hub.address(), hub.pin());
        hub.run(&life.tracker, life.ending.clone());
        let place = NodePath::coordinator();
        let options = runtime::Options {
            place: place.clone(),
            journal: Box::new(FileJournal::new(top.join("journal"), place, ca.journal_key())),
            world: Arc::new(NoWorld),
            hub: Some(events),
            uplink: None,
            boot: Arc::new(|_| BootParts::default()),
            crash: Plan::default(),
        };
        let handle = runtime::start(options, &life).await.unwrap();
        let host = NodePath::host_root(&HostName::local());
        handle.expect(host.clone(), Secret::new("host-token".into()), false).await.unwrap();

        let state = top.join("state");
        let file = AgentFile {
            name: Some(HostName::local()),
            server: Some(Servers::new(vec![address.to_string()])),
            token: Some(Secret::new("host-token".into())),
            ca: Some(pin),
            state_dir: Some(state.clone()),
            provider: Some(ProviderKind::Local),
            ..AgentFile::default()
        };
        let settings = top.join("agent.yaml");
        fs::write(&settings, file.to_text().unwrap()).unwrap();
        let env: Vec<(String, String)> =
            env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let start = Box::new(move || host_agent(&settings, &env));
        let root = Self { handle, state, agent: Mutex::new(start()), start, life };
        until("the host has joined", async || root.is_connected(&host).await.then_some(())).await;
        root
    }

    pub(crate) async fn is_connected(&self, path: &NodePath) -> bool {
        self.handle.agents().await.unwrap().iter().any(|agent| agent.path == *path && agent.connected)
    }

    /// Orders a tree, and waits until there is nothing more to do.
    pub(crate) async fn apply(&self, generation: u64, policy: Policy, nodes: &[Node]) -> TreeSnapshot {
        let ordering =
            Ordering { tree: tree(), run: RunId::from_bits(generation), generation: Generation(generation), policy };
        let host = NodePath::host_root(&HostName::local());
        let order = ordering.order(&host, None, nodes);
        let root = RootOrder {
            tree: tree(),
            run: ordering.run,
            generation: ordering.generation,
            policy,
            order: OpaqueOrder::close(&order).unwrap(),
            nodes: ordering.views(&host, nodes),
        };
        self.handle.order(root).await.unwrap();
        self.settled(generation).await
    }

    /// Says a word to the tree, and waits until there is nothing more to do.
    pub(crate) async fn destroy(&self, generation: u64) -> TreeSnapshot {
        let (run, number) = (RunId::from_bits(generation), Generation(generation));
        let policy = Policy::default();
        let word =
            Directive { tree: tree(), run, generation: number, verb: Verb::Destroy, policy, recorded: Vec::new() };
        self.handle.directive(word).await.unwrap();
        self.settled(generation).await
    }

    async fn settled(&self, generation: u64) -> TreeSnapshot {
        until("the tree has settled", async || {
            let snapshot = self.handle.tree(tree()).await.unwrap();
            snapshot.filter(|tree| tree.generation == Generation(generation) && tree.settled)
        })
        .await
    }

    /// The folder of a machine, found from the host's state folder down.
    pub(crate) fn folder(&self, path: &NodePath) -> PathBuf {
        let state = match path.parent() {
            Some(parent) if !parent.is_host() => self.folder(&parent).join("state"),
            _ => self.state.clone(),
        };
        let identity = Identity { tree: tree(), path: path.clone() };
        state.join("machines").join(identity.tag().as_str())
    }

    pub(crate) fn record(&self, path: &NodePath) -> Record {
        Record::read(&self.folder(path)).unwrap().expect("the machine is on record")
    }

    /// Waits for the host's agent to end, and starts it again.
    pub(crate) async fn revive(&self) {
        until("the host's agent has died", async || self.agent.lock().unwrap().try_wait().unwrap()).await;
        *self.agent.lock().unwrap() = (self.start)();
    }

    /// Ends the host's agent, and then the root. Both have to drain.
    pub(crate) async fn end(self) {
        let mut agent = self.agent.into_inner().unwrap();
        kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
        assert_eq!(agent.wait().unwrap().code(), Some(0));
        self.life.ending.cancel();
        self.life.drained().await;
    }
}

fn host_agent(settings: &Path, env: &[(String, String)]) -> Child {
    let log = fs::File::options().append(true).create(true).open(settings.with_extension("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_homestak-agent"))
        .args(["run", "--config"])
        .arg(settings)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

pub(crate) fn tree() -> TreeId {
    let manifest = ManifestName::parse("m").unwrap();
    TreeId { site: SiteId::from_bits(1), host: HostName::local(), manifest }
}

pub(crate) fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

/// What all orders of a run have in common.
struct Ordering {
    tree: TreeId,
    run: RunId,
    generation: Generation,
    policy: Policy,
}

impl Ordering {
    fn order(&self, place: &NodePath, own: Option<Own>, below: &[Node]) -> Order {
        let children = below.iter().map(|node| self.child(place, node)).collect();
        Order {
            tree: self.tree.clone(),
            path: place.clone(),
            run: self.run,
            generation: self.generation,
            policy: self.policy,
            own,
            children,
        }
    }

    fn child(&self, above: &NodePath, node: &Node) -> ChildOrder {
        let name = NodeName::parse(node.name).unwrap();
        let place = above.child(&self.tree.manifest, &name).unwrap();
        let machine = Machine {
            kind: node.kind,
            image: Some(SiteName::parse("debian-12").unwrap()),
            cores: 1,
            memory_mib: 512,
            disk_gib: 4,
            vmid: None,
            bridge: None,
        };
        let spec = Spec {
            name: SiteName::parse("base").unwrap(),
            document: r#"{"schema_version":1,"access":{"users":[{"name":"homestak","sudo":true}]}}"#.to_owned(),
        };
        let own = Own { machine: machine.clone(), configuration: Configuration::Push(spec) };
        ChildOrder {
            name,
            machine,
            cloud_init: CloudInit::default(),
            token: Secret::new(format!("token-of-{place}-{}", self.generation)),
            order: OpaqueOrder::close(&self.order(&place, Some(own), &node.below)).unwrap(),
        }
    }

    /// Every node, breadth first.
    fn views(&self, host: &NodePath, nodes: &[Node]) -> Vec<NodeView> {
        let mut level: Vec<(NodePath, &Node)> = nodes.iter().map(|node| (host.clone(), node)).collect();
        let mut views = Vec::new();
        while !level.is_empty() {
            let mut next = Vec::new();
            for (above, node) in level {
                let place = above.child(&self.tree.manifest, &NodeName::parse(node.name).unwrap()).unwrap();
                views.push(unseen(&place, node.kind, self.generation));
                next.extend(node.below.iter().map(|below| (place.clone(), below)));
            }
            level = next;
        }
        views
    }
}
