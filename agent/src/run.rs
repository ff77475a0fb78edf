//! The daemon: an agent from its start to its end.
//!
//! Tasks of its own, besides those of what it is made of (uplink, hub, core, provider): one answers on the status socket;
//! on a node, one looks again on its spec's rhythm ([`crate::drift`]);
//! in a machine of `local`, one waits for the machine's folder to go.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homestak_node::crash::Plan;
use homestak_node::folder::gone;
use homestak_node::https::{self, OwnProgram, Relay};
use homestak_node::journal::file::FileJournal;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::link::{HubEvent, MAILBOX};
use homestak_node::notify;
use homestak_node::runtime::{self, BootParts, BootSource};
use homestak_node::source::SpecSource;
use homestak_node::tls;
use homestak_node::transport::addresses::Addresses;
use homestak_node::transport::hub::{Hub, HubOptions};
use homestak_node::transport::limits::Timing;
use homestak_node::transport::pair::bind_pair;
use homestak_node::transport::uplink::{Fetcher, Uplink, UplinkOptions};
use homestak_node::trust::ca::Ca;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::identity::{Identity, Introduction, known_addresses};
use homestak_node::world::{Task, World};
use homestak_protocol::event::Phase;
use homestak_protocol::path::NodePath;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::config::pull::Parent;
use crate::config::way_back;
use crate::drift::Watch;
use crate::failure::{Exit, Failure, MACHINE, SETTINGS, USAGE};
use crate::files::{read_if_there, write_whole};
use crate::glance::Threshold;
use crate::host::{Host, Link};
use crate::provider::Provider;
use crate::provider::local::faults::{FAULTS, FaultPlan};
use crate::provider::local::inside::Inside;
use crate::provider::local::{Launcher, Local, Options, SPAWN};
use crate::provider::pve::{self, Pve};
use crate::settings::{ProviderKind, Settings};
use crate::socket;
use crate::standing::{Place, Standing};
use crate::state::{IDENTITY, LOCK, StateFolder};
use crate::world::AgentWorld;
use homestak_node::transport::links::{LINKS, Links};

/// What this program calls its version.
pub const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// How long to wait for the port that children know to be free: whoever has it may have it for a moment only, and another
/// one would be lost on children until the next apply.
const PORT_PATIENCE: Duration = Duration::from_secs(3);
/// How often to try. Nobody tells when a port is free.
const PORT_AGAIN: Duration = Duration::from_millis(100);

/// Runs the agent until it is asked to end.
pub async fn run(settings: Settings, env: impl Fn(&str) -> Option<OsString>) -> Result<(), Failure> {
    // Nothing that an agent makes is anybody else's business; what is to be public is made so one by one.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let life = Lifecycle::new();
    life.heed_signals().map_err(|error| Failure::machine("listening for signals", error))?;
    life.raise_file_limit();
    let tests = Tests::read(&settings, &env)?;
    let state = StateFolder::take(&settings.state_dir)?;
    let inside = settings.machine.clone().map(Inside::new);
    match inside.clone() {
        Some(inside) => end_with(async move { inside.gone().await }, "this machine is gone", &life),
        None => {
            let folder = state.path().to_owned();
            end_with(async move { gone(&folder, LOCK).await }, "the state folder is gone", &life);
        }
    }
    if inside.is_none() {
        undo_network(state.path(), &life).await;
    }
    let clock = Clock::system();
    let mut uplink = uplink(&settings, state.path(), clock.clone())?;
    let standing = answer_questions(&uplink, state.path(), &life)?;
    notify::ready();
    if boot_fails(&tests.faults, inside.as_ref(), &life).await {
        return Err(Failure::new(
            Exit::Failed,
            "E704",
            format!("ending, as {FAULTS} asks for"),
            "it is a test's doing",
        ));
    }
    let Some(enrolled) = uplink.enrolled(&life.ending).await else { return Ok(()) };
    let place = enrolled.path;
    notify::status(&format!("this machine is {place}"));
    check_name(&settings, &place)?;

    let own = Arc::new(OwnProgram::running());
    let provider = provider(&settings, state.path(), &place, inside.clone(), uplink.fetcher(), &own, &life)?;
    let hub = match &provider {
        Some(_) => Some(hub(&settings, state.path(), clock.clone(), tests.links).await?),
        None => None,
    };
    let (door, hub_events, boot) = match hub {
        Some((door, events, boot)) => (Some(door), Some(events), boot),
        None => (None, None, no_children()),
    };
    let (uplink_told, uplink_events) = mpsc::channel(MAILBOX);
    let journal = FileJournal::new(state.path().join("journal"), place.clone(), uplink.identity().journal_key());
    let world = Arc::new(AgentWorld {
        state: state.path().to_owned(),
        provider: provider.clone(),
        host: host(&settings, inside.as_ref(), &uplink, &life),
        inside,
        parent: Parent::told(&settings),
        servers: parents(&settings),
        threshold: door.as_ref().map(Door::threshold),
        faults: tests.faults,
    });
    let parts = runtime::Options {
        place: place.clone(),
        journal: Box::new(journal),
        world: Arc::clone(&world) as Arc<dyn World>,
        hub: hub_events,
        uplink: Some(uplink_events),
        boot,
        crash: Plan::from_environment(),
    };
    let handle = runtime::start(parts, &life).await.map_err(|error| {
        let hint = "destroy this machine and apply its manifest again, if what is there cannot be put right";
        Failure::new(Exit::Failed, MACHINE, "what this agent remembers cannot be used", hint).because(error)
    })?;
    if let Some(door) = door {
        let shelf = provider.as_ref().and_then(|provider| provider.shelf());
        door.open(Arc::new(Relay::new(uplink.fetcher(), handle.clone(), own, shelf)), &life)?;
    }
    if !place.is_host() {
        let watch = Watch { place: place.clone(), handle: handle.clone(), world, clock };
        life.tracker.spawn(watch.run(life.ending.clone()));
    }
    standing.settle(Place { path: place, handle, provider });
    life.tracker.spawn(uplink.run(uplink_told, life.ending.clone()));
    life.ending.cancelled().await;
    notify::stopping();
    life.drained().await;
    Ok(())
}

/// Whoever changed this machine's network and ended before the parent was reached by it has left the way back to us.
async fn undo_network(state: &Path, life: &Lifecycle) {
    let task = Task { cancel: life.ending.clone(), progress: Arc::new(|_| {}) };
    if let Err(trouble) = way_back::go(state, task).await {
        tracing::error!(%trouble, "the network cannot be set back to what it was");
    }
}

/// Where the parent is reached: as was told, and as the parent itself has said.
pub fn parents(settings: &Settings) -> Vec<String> {
    let said = known_addresses(&settings.state_dir.join(IDENTITY));
    let mut servers = settings.servers.as_slice().to_vec();
    servers.extend(said.into_iter().filter(|server| !settings.servers.as_slice().contains(server)));
    servers
}

/// What tests want to see.
struct Tests {
    faults: FaultPlan,
    links: Links,
}

impl Tests {
    fn read(settings: &Settings, env: &impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let text = |name| env(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        let refuse = |name: &'static str| {
            move |why: String| Failure::new(Exit::Usage, USAGE, format!("{name}: {why}"), "see docs/testing.md")
        };
        Ok(Self {
            faults: FaultPlan::parse(&text(FAULTS), &settings.state_dir).map_err(refuse(FAULTS))?,
            links: Links::parse(&text(LINKS)).map_err(refuse(LINKS))?,
        })
    }
}

/// Who we are and whom we dial.
pub fn uplink(settings: &Settings, state: &Path, clock: Clock) -> Result<Uplink, Failure> {
    let missing = |what: &str, hint: &str| Failure::new(Exit::Configuration, SETTINGS, what, hint);
    let told = Introduction {
        ca: settings.ca.ok_or_else(|| {
            missing(
                "the pin of the parent's CA is not known",
                "give it as --ca or HOMESTAK_CA, as the parent prints it",
            )
        })?,
        token: settings.token.clone(),
    };
    let identity = Identity::load_or_create(&state.join(IDENTITY), &told)
        .map_err(|error| Failure::machine("reading the identity", error))?;
    let new = identity.enrolled().is_none();
    if new && settings.servers.as_slice().is_empty() {
        return Err(missing("no parent is known", "give one as --server or HOMESTAK_SERVER: https://HOST:PORT"));
    }
    if new && settings.token.is_none() {
        let hint = "give the token that the parent made for this machine as HOMESTAK_TOKEN, or `token` in the file";
        return Err(missing("this agent is not enrolled with that parent, and has no token to enrol with", hint));
    }
    let options = UplinkOptions {
        servers: settings.servers.as_slice().to_vec(),
        told,
        bind: settings.bind,
        software: SOFTWARE.to_owned(),
        timing: Timing::default(),
    };
    Ok(Uplink::new(options, identity, clock))
}

/// Ends this process as soon as what it works for is gone: there is nothing left to drain to.
fn end_with(gone: impl Future<Output = ()> + Send + 'static, told: &'static str, life: &Lifecycle) {
    let ending = life.ending.clone();
    life.tracker.spawn(async move {
        tokio::select! {
            () = ending.cancelled() => {}
            () = gone => {
                tracing::info!("{told}");
                std::process::exit(0);
            }
        }
    });
}

/// Lets others ask how this agent stands.
fn answer_questions(uplink: &Uplink, state: &Path, life: &Lifecycle) -> Result<Standing, Failure> {
    let listener = socket::bind(state).map_err(|error| Failure::machine("making the status socket", error))?;
    let standing = Standing::new(uplink.status());
    let (asked, ending, state) = (standing.clone(), life.ending.clone(), state.to_owned());
    life.tracker.spawn(async move {
        let answer = || {
            let standing = asked.clone();
            async move { standing.document().await }
        };
        socket::serve(listener, ending, answer).await;
        if let Err(error) = socket::remove(&state) {
            tracing::warn!(%error, "the status socket cannot be taken away");
        }
    });
    Ok(standing)
}

/// Whether a test wants this machine's agent to end before anybody has heard of it.
async fn boot_fails(faults: &FaultPlan, inside: Option<&Inside>, life: &Lifecycle) -> bool {
    match inside.and_then(|inside| inside.record().ok().flatten()) {
        Some(record) => {
            let met = faults.meet(&record.path, Phase::Boot, &life.ending).await;
            met.is_err() && !life.ending.is_cancelled()
        }
        None => false,
    }
}

/// An agent that was told its name does not answer to another: its parent has taken it for somebody else.
fn check_name(settings: &Settings, place: &NodePath) -> Result<(), Failure> {
    match &settings.name {
        Some(name) if name.as_str() != place.name() => {
            let message = format!("this agent is called {name}, but its parent knows it as {place}");
            let hint = "the token is another machine's, or the name is wrong";
            Err(Failure::new(Exit::Configuration, SETTINGS, message, hint))
        }
        _ => Ok(()),
    }
}

fn provider(
    settings: &Settings,
    state: &Path,
    place: &NodePath,
    inside: Option<Inside>,
    above: Fetcher,
    own: &Arc<OwnProgram>,
    life: &Lifecycle,
) -> Result<Option<Arc<dyn Provider>>, Failure> {
    match settings.provider {
        None => Ok(None),
        Some(ProviderKind::Pve) => {
            let Some(pve) = settings.pve.clone() else { return Ok(None) };
            let options = pve::Options {
                state: state.to_owned(),
                place: place.clone(),
                settings: pve,
                inside,
                above: Some(above),
                program: Arc::clone(own),
                pct: PathBuf::from("pct"),
                qm: PathBuf::from("qm"),
                consoles: PathBuf::from("/run/qemu-server"),
                crash: Plan::from_environment(),
                waits: pve::Waits::default(),
            };
            let pve = Pve::open(options, life).map_err(|error| Failure::machine("looking at the records", error))?;
            Ok(Some(Arc::new(pve)))
        }
        Some(ProviderKind::Local) => {
            let instead = std::env::var_os(SPAWN).filter(|program| !program.is_empty()).map(PathBuf::from);
            let program = instead.map_or_else(std::env::current_exe, Ok);
            let program = program.map_err(|error| Failure::machine("finding this program", error))?;
            let options = Options {
                state: state.to_owned(),
                place: place.clone(),
                launcher: Launcher::new(program, std::env::vars_os()),
                inside,
                crash: Plan::from_environment(),
            };
            let local =
                Local::open(options, life).map_err(|error| Failure::machine("looking at the machines", error))?;
            Ok(Some(Arc::new(local)))
        }
    }
}

/// What makes this machine a Proxmox VE host; none where its machines are others', or it is simulated itself.
fn host(settings: &Settings, inside: Option<&Inside>, uplink: &Uplink, life: &Lifecycle) -> Option<Host> {
    let pve = settings.pve.clone().filter(|_| inside.is_none())?;
    let link = Link { status: uplink.status(), fetcher: uplink.fetcher() };
    Some(Host { pve, link, crash: Plan::from_environment(), life: life.clone() })
}

/// Where children come in: links over QUIC, and HTTPS on the same port number.
struct Door {
    hub: Hub,
    tcp: TcpListener,
    certificate: Arc<tls::HttpsConfig>,
}

impl Door {
    /// As whoever looks at machines needs to know it.
    fn threshold(&self) -> Threshold {
        Threshold { callers: self.hub.callers(), port: self.hub.address().port() }
    }

    /// Lets them in. What they fetch, this source answers.
    fn open(self, source: Arc<dyn SpecSource>, life: &Lifecycle) -> Result<(), Failure> {
        let address = self.hub.address();
        let about = || serde_json::Map::from_iter([("version".into(), SOFTWARE.into())]);
        let options = https::Options {
            listener: self.tcp,
            tls: watch::Sender::new(self.certificate).subscribe(),
            router: https::routes(https::health(about).merge(https::specs(Arc::clone(&source)))),
            rates: https::Rates::default(),
            metrics_token: None,
            more: Arc::new(|text| Box::pin(std::future::ready(text))),
        };
        https::serve(options, &life.tracker, life.ending.clone())
            .map_err(|error| Failure::machine("serving HTTPS", error))?;
        self.hub.answer_with(source);
        self.hub.run(&life.tracker, life.ending.clone());
        tracing::info!(%address, "serving children");
        Ok(())
    }
}

/// Takes the port; nobody is heard yet.
async fn hub(
    settings: &Settings,
    state: &Path,
    clock: Clock,
    links: Links,
) -> Result<(Door, mpsc::Receiver<HubEvent>, BootSource), Failure> {
    let failed = |error| Failure::machine("serving children", error);
    let (udp, tcp) = listen(settings, state).await?;
    let ca = Ca::load_or_create(&state.join("ca"), clock).map_err(|error| Failure::machine("making a CA", error))?;
    let ca = Arc::new(ca);
    let instead = Arc::new(links);
    let addresses = Addresses {
        advertise: Vec::new(),
        override_for: Some(Arc::new(move |child: &NodePath| instead.instead_for(child))),
    };
    let (told, events) = mpsc::channel(MAILBOX);
    let options = HubOptions { addresses: addresses.clone(), ..HubOptions::new(udp, SOFTWARE) };
    let hub = Hub::bind(options, Arc::clone(&ca), told).map_err(failed)?;
    let (bound, pin) = (hub.address(), hub.pin().to_string());
    let certificate = tls::https(&ca, &addresses.names(bound), None)
        .map_err(|error| Failure::machine("making a certificate", error))?;
    let ca_pem = ca.pem();
    let boot = move |child: &NodePath| BootParts {
        servers: addresses.all(child, bound),
        ca: pin.clone(),
        ca_pem: ca_pem.clone(),
    };
    Ok((Door { hub, tcp, certificate }, events, Arc::new(boot)))
}

/// Listens where it was told to. A port that was picked is picked again next time, so that children find it.
async fn listen(settings: &Settings, state: &Path) -> Result<(UdpSocket, TcpListener), Failure> {
    let kept = state.join("port");
    let ip = settings.bind.unwrap_or(match settings.provider {
        // Machines of `local` are on this machine, and nobody else needs to reach us.
        Some(ProviderKind::Local) if std::env::var_os(SPAWN).is_none() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    let failed = |error| Failure::machine(&format!("listening on {ip}, port {}", settings.port), error);
    if settings.port != 0 {
        return bind_pair(SocketAddr::new(ip, settings.port)).map_err(failed);
    }
    let before = read_if_there(&kept).ok().flatten().and_then(|text| text.trim().parse::<u16>().ok());
    if let Some(port) = before {
        let begun = Instant::now();
        loop {
            match bind_pair(SocketAddr::new(ip, port)) {
                Ok(pair) => return Ok(pair),
                Err(_) if begun.elapsed() < PORT_PATIENCE => sleep(PORT_AGAIN).await,
                Err(error) => {
                    tracing::warn!(%error, port, "the port that was kept is taken; picking another");
                    break;
                }
            }
        }
    }
    let pair = bind_pair(SocketAddr::new(ip, 0)).map_err(failed)?;
    let port = pair.0.local_addr().map_err(failed)?.port();
    write_whole(&kept, format!("{port}\n").as_bytes()).map_err(|error| Failure::machine("keeping the port", error))?;
    Ok(pair)
}

/// What a leaf tells its children, of which it has none.
fn no_children() -> BootSource {
    Arc::new(|_| BootParts::default())
}
