//! A host and its agents as tasks of one process: real links, identities and journals; machines that need no making.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homestak_node::crash;
use homestak_node::journal::file::FileJournal;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::link::UplinkEvent;
use homestak_node::runtime::{self, BootParts, Handle, Options, Update};
use homestak_node::transport::hub::{Hub, HubOptions};
use homestak_node::transport::pair::bind_pair;
use homestak_node::transport::uplink::{Uplink, UplinkOptions};
use homestak_node::trust::ca::Ca;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::identity::{Identity, Introduction};
use homestak_node::trust::pin::CaPin;
use homestak_node::world::{Configured, Ensure, Ensured, Found, Remove, Task, Work, World};
use homestak_protocol::event::{Change, Facts, Phase, PhaseStatus};
use homestak_protocol::ids::{Generation, Position, RunId, SiteId};
use homestak_protocol::message::{Reply, Report, Request, Welcome};
use homestak_protocol::name::{HostName, ManifestName, NodeName};
use homestak_protocol::order::{
    ChildOrder, CloudInit, Configuration, Machine, NodeKind, OpaqueOrder, Order, Own, Policy,
};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use tokio::sync::{mpsc, oneshot};

/// More than one thread, as the coordinator has; agents of their own processes have one each.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A world in which everything is as it should be already; a machine that is asked for shows up as a task.
struct Ready {
    born: mpsc::UnboundedSender<Ensure>,
    known: Mutex<BTreeMap<NodePath, ()>>,
}

impl World for Ready {
    fn ensure(&self, ask: Ensure, _: Task) -> Work<'_, Ensured> {
        let new = self.known.lock().expect("not poisoned").insert(ask.path.clone(), ()).is_none();
        if new {
            let _ = self.born.send(ask);
        }
        let found = if new { Found::Created } else { Found::Unchanged };
        Box::pin(async move { Ok(Ensured { found, adopted: false, vmid: None, ip: None }) })
    }

    fn remove(&self, _: Remove, _: Task) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn become_host(&self, _: NodePath, _: Own, _: Task) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn configure(&self, _: NodePath, _: Configuration, _: Task) -> Work<'_, Configured> {
        Box::pin(async { Ok(Configured::default()) })
    }

    fn verify(&self, _: NodePath, _: Own, _: Task) -> Work<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// A host that is ordered about by the bench in its coordinator's place.
pub(crate) struct Stage {
    folder: PathBuf,
    life: Lifecycle,
    host: Handle,
    orders: mpsc::Sender<UplinkEvent>,
    servers: Vec<String>,
    tree: TreeId,
    nodes: usize,
    generation: u64,
    first: Option<Ensure>,
    agents: Lifecycle,
}

impl Stage {
    /// A host with this many agents, all of which have joined and been configured.
    pub(crate) async fn build(folder: &Path, nodes: usize) -> Self {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder.join("host")).expect("a folder");
        let life = Lifecycle::new();
        let ca = Arc::new(Ca::load_or_create(&folder.join("host/ca"), Clock::system()).expect("a CA"));
        let (socket, _) = bind_pair(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket");
        let (events, hub_events) = mpsc::channel(homestak_node::link::MAILBOX);
        let hub = Hub::bind(HubOptions::new(socket, "bench"), ca, events).expect("a hub");
        let (address, pin) = (hub.address(), hub.pin());
        hub.run(&life.tracker, life.ending.clone());
        let place = NodePath::parse("local").expect("a path");
        let (born, mut births) = mpsc::unbounded_channel();
        let (orders, uplink) = mpsc::channel(16);
        let servers = vec![address.to_string()];
        let boot = BootParts { servers: servers.clone(), ca: pin.to_string(), ..BootParts::default() };
        let options = Options {
            place: place.clone(),
            journal: Box::new(FileJournal::new(folder.join("host/journal"), place, [1; 32].into())),
            world: Arc::new(Ready { born, known: Mutex::default() }),
            hub: Some(hub_events),
            uplink: Some(uplink),
            boot: Arc::new(move |_| boot.clone()),
            crash: crash::Plan::default(),
        };
        let host = runtime::start(options, &life).await.expect("a host");
        be_parent(&orders).await;
        let tree = TreeId {
            site: SiteId::from_bits(1),
            host: HostName::local(),
            manifest: ManifestName::parse("bench").expect("a name"),
        };
        let mut stage = Self {
            folder: folder.to_owned(),
            life: life.clone(),
            host,
            orders,
            servers,
            tree,
            nodes,
            generation: 0,
            first: None,
            agents: Lifecycle::new(),
        };
        let (first, mut firsts) = mpsc::channel(1);
        let agents = (folder.to_owned(), stage.servers.clone(), stage.agents.clone());
        tokio::spawn(async move {
            while let Some(ask) = births.recv().await {
                let _ = first.try_send(ask.clone());
                let (folder, servers, life) = agents.clone();
                let tracker = life.tracker.clone();
                tracker.spawn(async move { agent(&folder, servers, &ask, &life).await });
            }
        });
        stage.order().await;
        stage.first = firsts.recv().await;
        stage
    }

    fn next(&mut self) -> Request {
        self.generation += 1;
        Request::Order { order: OpaqueOrder::close(&self.host_order()).expect("an order"), word: None }
    }

    fn host_order(&self) -> Order {
        let children = (0..self.nodes).map(|index| {
            let name = NodeName::parse(&format!("n{index}")).expect("a name");
            let path = NodePath::parse("local").expect("a path").child(&self.tree.manifest, &name).expect("a path");
            let own = Own { machine: machine(), configuration: Configuration::Nothing };
            let order = OpaqueOrder::close(&self.an_order(path, Some(own), Vec::new())).expect("an order");
            let token = Secret::new(format!("token-{index}"));
            ChildOrder { name, machine: machine(), cloud_init: CloudInit::default(), token, order }
        });
        self.an_order(NodePath::parse("local").expect("a path"), None, children.collect())
    }

    fn an_order(&self, path: NodePath, own: Option<Own>, children: Vec<ChildOrder>) -> Order {
        let policy = Policy { parallel: 64, ..Policy::default() };
        let (run, generation) = (RunId::from_bits(self.generation), Generation(self.generation));
        Order { tree: self.tree.clone(), path, run, generation, policy, own, children }
    }

    /// Hands the host an order, and waits until every agent below has settled.
    pub(crate) async fn order(&mut self) {
        let mut updates = self.host.updates();
        let request = self.next();
        let (answer, wait) = oneshot::channel();
        self.orders.send(UplinkEvent::Request { request, answer }).await.expect("the host lives");
        assert_eq!(wait.await.expect("an answer"), Reply::Done);
        loop {
            match updates.recv().await {
                Ok(Update::Settled(_, generation)) if generation.0 == self.generation => break,
                Ok(_) => {}
                // Behind: what was missed may have been what is waited for.
                Err(_) if self.settled().await => break,
                Err(_) => {}
            }
        }
    }

    async fn settled(&self) -> bool {
        let tree = self.host.tree(self.tree.clone()).await.expect("the host lives");
        tree.is_some_and(|tree| tree.settled && tree.generation.0 == self.generation)
    }

    /// Hands the host an order, and waits until its one agent has its own part of it on disk and has said so: two journal
    /// writes, the look at the machine, a request over the link, and the agent's write.
    pub(crate) async fn delegate(&mut self) {
        let mut updates = self.host.updates();
        let request = self.next();
        let (answer, _wait) = oneshot::channel();
        self.orders.send(UplinkEvent::Request { request, answer }).await.expect("the host lives");
        while !matches!(updates.recv().await, Ok(Update::Event(event)) if is_handed_over(&event.change)) {}
    }

    /// Waits until the last order has been obeyed.
    pub(crate) async fn rest(&self) {
        let mut updates = self.host.updates();
        while !self.settled().await {
            let _ = updates.recv().await;
        }
    }

    /// An agent that has an identity starts, and joins in the place of the one before, which has ended.
    pub(crate) async fn rejoin(&mut self) {
        let life = Lifecycle::new();
        let mut updates = self.host.updates();
        let (folder, servers, done, ask) =
            (self.folder.clone(), self.servers.clone(), life.clone(), self.first.clone());
        life.tracker.spawn(async move { agent(&folder, servers, &ask.expect("built"), &done).await });
        while !matches!(updates.recv().await, Ok(Update::Presence(presence)) if presence.connected) {}
        self.agents = life;
    }

    /// Ends the agents.
    pub(crate) async fn end_agents(&mut self) {
        self.agents.ending.cancel();
        self.agents.tracker.close();
        self.agents.tracker.wait().await;
    }

    /// Ends everything and removes the folder.
    pub(crate) async fn leave(mut self) {
        self.end_agents().await;
        self.life.ending.cancel();
        self.life.tracker.close();
        let _ = tokio::time::timeout(Duration::from_secs(10), self.life.tracker.wait()).await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Welcomes the host in its coordinator's place, and acknowledges whatever it tells.
async fn be_parent(orders: &mpsc::Sender<UplinkEvent>) {
    let (reports, mut told) = mpsc::channel(homestak_node::link::MAILBOX);
    let welcome = Welcome {
        protocol: 1,
        software: "bench".into(),
        seen: Position(0),
        now_ms: Clock::system().now_ms(),
        addresses: Vec::new(),
    };
    let up = UplinkEvent::Up { welcome: Box::new(welcome), reports };
    orders.send(up).await.expect("the host lives");
    let orders = orders.clone();
    tokio::spawn(async move {
        while let Some(report) = told.recv().await {
            if let Report::Entries(entries) = report
                && let Some(last) = entries.last()
            {
                let _ = orders.send(UplinkEvent::Acked(last.position)).await;
            }
        }
    });
}

fn is_handed_over(change: &Change) -> bool {
    matches!(change, Change::Phase(phase) if phase.phase == Phase::Enrol && phase.status == PhaseStatus::Passed)
}

fn machine() -> Machine {
    Machine { kind: NodeKind::Vm, image: None, cores: 1, memory_mib: 512, disk_gib: 8, vmid: None, bridge: None }
}

/// An agent as a task: enrols, joins, obeys, until its life ends.
async fn agent(folder: &Path, servers: Vec<String>, ask: &Ensure, life: &Lifecycle) {
    let folder = folder.join(ask.path.name());
    std::fs::create_dir_all(&folder).expect("a folder");
    let told = Introduction { ca: CaPin::parse(&ask.boot.ca).expect("a pin"), token: Some(ask.boot.token.clone()) };
    let identity = Identity::load_or_create(&folder.join("identity"), &told).expect("an identity");
    let key = identity.journal_key();
    let options = UplinkOptions { servers, told, bind: None, software: "bench".into(), timing: Default::default() };
    let mut uplink = Uplink::new(options, identity, Clock::system());
    let Some(enrolled) = uplink.enrolled(&life.ending).await else { return };
    let (events, uplink_events) = mpsc::channel(homestak_node::link::MAILBOX);
    let (born, _) = mpsc::unbounded_channel();
    let options = Options {
        place: enrolled.path.clone(),
        journal: Box::new(FileJournal::new(folder.join("journal"), enrolled.path, key)),
        world: Arc::new(Ready { born, known: Mutex::default() }),
        hub: None,
        uplink: Some(uplink_events),
        boot: Arc::new(|_| BootParts::default()),
        crash: crash::Plan::default(),
    };
    let handle = runtime::start(options, life).await.expect("an agent");
    uplink.run(events, life.ending.clone()).await;
    drop(handle);
}
