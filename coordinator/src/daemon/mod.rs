//! The daemon: one process for each state folder, which holds the record and the socket, and lets agents in.
//!
//! Its long-lived tasks: `socket` accepts clients and has one task for each; `local` keeps the agent of the host `local`
//! alive; `quiet` ends a daemon that a command started when there is nothing left to look after; `stdio` keeps the log
//! within its bound; and those of the engine, the core's shell, the hub and the HTTPS endpoint. All of them end with
//! [`Lifecycle`]: on SIGTERM, on request, or by `quiet`.
//!
//! - `folder`: who holds the state folder, and what lies in it. - `endpoint`: port, CA, hub, HTTPS. - `answer`: requests.
//! - `backup`: what must not be lost, as one file.

mod answer;
mod backup;
mod endpoint;
mod folder;
mod local;
mod programs;
mod quiet;
mod repos;
mod socket;
mod specs;
mod stdio;
mod tokens;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use homestak_node::crash;
use homestak_node::folder::gone;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::notify;
use homestak_node::runtime::{self, Handle};
use homestak_node::source::SpecSource;
use homestak_node::transport::links::{LINKS, Links};
use homestak_node::trust::clock::Clock;
use homestak_node::world::NoWorld;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as signals;
use tokio::time::Instant;

pub use self::backup::restore;
use self::endpoint::{Endpoint, Served};
use self::folder::Folder;
use self::programs::Programs;
use self::repos::Repos;
use self::specs::{SiteNow, Specs};
use self::stdio::Stdio;
use self::tokens::Tokens;
use crate::api::{Exit, Refusal};
use crate::client::Mode;
use crate::lower::{LimitOverrides, random};
use crate::runs::{Engine, Parts, Troubles, refuse};
use crate::settings::{Settings, SiteChoice};
use crate::site::secrets::Keys;
use crate::site::{self, Broken, Site};
use crate::store::{SealKey, Store};

/// How often it is looked whether the log has grown over its bound.
const LOG_CHECK: Duration = Duration::from_secs(60);

/// How long the endpoint may take until it answers: it only has to be scheduled.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked.
const READY_LOOK: Duration = Duration::from_millis(50);

/// Everything that answers to clients. Cheap to clone.
#[derive(Clone)]
struct Daemon {
    settings: Arc<Settings>,
    engine: Engine<Store, Handle>,
    store: Store,
    endpoint: Arc<Endpoint>,
    life: Lifecycle,
    started_ms: u64,
    /// Whether it ends by itself.
    on_demand: Arc<AtomicBool>,
    /// How many clients there are.
    clients: signals::Sender<usize>,
    /// What keeps the agent of `local` from coming up.
    troubles: signals::Receiver<Troubles>,
    /// Why the site that is in force is not the one on disk.
    site_problem: signals::Sender<Option<Arc<Broken>>>,
    /// The age identities that clients have lent.
    keyring: Arc<Mutex<Keys>>,
    /// Why what is served is not what was last asked for.
    serving_problem: signals::Sender<Option<String>>,
    /// Whether the log goes to a file.
    logs_to_file: bool,
    /// Git work trees.
    repos: Option<Arc<Repos>>,
    tokens: Arc<Tokens>,
    /// Clients who wait for the end of this process, which is told by the end of their connection.
    held: Arc<Mutex<Vec<socket::Held>>>,
}

/// Is the daemon, until a signal, a request or its own end. In the background it first says on stdout, in one line, whether
/// it is up.
pub async fn serve(settings: Settings, mode: Mode) -> Result<Exit, Refusal> {
    let mut stdio = Stdio::take(mode);
    match start(settings, mode, &mut stdio).await {
        Ok(running) => running.until_the_end().await,
        Err(refusal) => {
            stdio.say_refused(&refusal);
            Err(refusal)
        }
    }
}

/// A daemon that is up.
struct Running {
    daemon: Daemon,
    local: local::Local,
    /// Held until everything else has ended.
    folder: Folder,
}

async fn start(settings: Settings, mode: Mode, stdio: &mut Stdio) -> Result<Running, Refusal> {
    let life = Lifecycle::new();
    life.heed_signals().map_err(|source| internal("signals cannot be listened for", &source))?;
    life.raise_file_limit();
    let limits = limits()?;
    let links = Links::from_environment().map_err(|why| usage(LINKS, &why))?;
    let identities = own_keys(mode);
    // A daemon whose site cannot be used comes up all the same: there may be trees on record to look after.
    let (site, broken) = match Site::open(&settings.site, &identities) {
        Ok(site) => (Arc::new(site), None),
        Err(broken) => (Arc::new(Site::nothing(&settings.site)), Some(Arc::new(broken))),
    };
    let folder = Folder::take(&settings.state_dir).await?;
    stdio.open_log(&settings, mode)?;
    let clock = Clock::system();
    let endpoint = Arc::new(Endpoint::bind(&settings, &folder, clock, links)?);
    let bits = u128::from_ne_bytes(random().map_err(|fault| refuse(&fault))?);
    let store = open_store(&folder, &endpoint, bits)?;
    let key = folder.signing_key()?;
    let options = runtime::Options {
        place: NodePath::coordinator(),
        journal: crate::store::Record::journal(&store),
        world: Arc::new(NoWorld),
        hub: Some(endpoint.events()?),
        uplink: None,
        boot: endpoint.boot(),
        crash: crash::Plan::from_environment(),
    };
    let core = runtime::start(options, &life).await.map_err(|error| internal("the core cannot start", &error))?;
    let (troubled, troubles) = signals::channel(Troubles::new());
    let repos = open_repos(&settings, &folder).await?;
    let for_sources = core.clone();
    let parts = Parts { store: store.clone(), core, site, key, limits, life: life.clone(), troubles: troubles.clone() };
    let engine = Engine::new(parts);
    engine.resume().await.map_err(|fault| refuse(&fault))?;
    let (sites, signing) = (engine.clone(), engine.clone());
    let site_now: SiteNow = Arc::new(move || sites.site());
    let tokens = Tokens::open(Arc::new(move || signing.signing_keys()), store.clone(), for_sources.clone()).await;
    let tokens = tokens.map_err(|fault| refuse(&fault))?;
    let specs = Arc::new(Specs {
        site: site_now,
        tokens: Arc::clone(&tokens),
        store: store.clone(),
        core: for_sources,
        programs: Programs::new(program_folders(&settings, &folder)),
        kept: specs::Cache::default(),
    });
    let watched = Arc::new(OnceLock::new());
    let served = Served {
        source: Arc::clone(&specs) as Arc<dyn SpecSource>,
        repos: repos.clone(),
        more: watch::more(Arc::clone(&watched), specs),
        certificate: settings.serving.certificate.clone(),
    };
    endpoint.serve(served, &life)?;
    tokens.spend(&life);
    if let Some(repos) = &repos {
        repos.look_again(&life);
    }
    let local = local::Local::supervise(&folder, &endpoint, engine.clone(), troubled, &life);
    let daemon = Daemon {
        settings: Arc::new(settings),
        engine,
        store,
        endpoint,
        life,
        started_ms: crate::runs::clock::now_ms(),
        on_demand: Arc::new(AtomicBool::new(mode == Mode::OnDemand)),
        clients: signals::Sender::new(0),
        troubles,
        site_problem: signals::Sender::new(broken),
        keyring: Arc::new(Mutex::new(identities)),
        serving_problem: signals::Sender::new(None),
        logs_to_file: stdio.logs_to_file(),
        repos,
        tokens,
        held: Arc::default(),
    };
    let _ = watched.set(daemon.clone());
    healthy(&daemon).await?;
    if daemon.life.ending.is_cancelled() {
        // It was told to end before it was up: nobody has heard of it, and it ends as any other.
        return Ok(Running { daemon, local, folder });
    }
    socket::listen(&daemon, &folder)?;
    quiet::watch(&daemon);
    reload_on_hangup(&daemon)?;
    end_with(&daemon, &folder);
    stdio.keep_log_bounded(&daemon.life);
    folder.write_pid()?;
    tracing::info!(
        pid = std::process::id(),
        port = daemon.endpoint.port(),
        state_dir = %daemon.settings.state_dir.display(),
        build = crate::api::BUILD,
        "the daemon is up"
    );
    stdio.say_up(&daemon.greeting());
    notify::ready();
    notify::stay_alive(&daemon.life.tracker, daemon.life.ending.clone());
    Ok(Running { daemon, local, folder })
}

impl Running {
    async fn until_the_end(self) -> Result<Exit, Refusal> {
        let life = self.daemon.life.clone();
        life.ending.cancelled().await;
        notify::stopping();
        // Nobody new is let in; those who come find nobody, and start another.
        self.folder.remove_socket();
        let leave = self.daemon.engine.is_idle().await.unwrap_or(false);
        // Its agent ends with it unless there is something left to look after.
        tokio::join!(life.drained(), self.local.end(leave));
        self.folder.remove_pid();
        tracing::info!("the daemon has ended");
        Ok(Exit::Done)
    }
}

impl Daemon {
    /// Holds age identities, and reads the site again with those that are new.
    async fn learn(&self, keys: &Keys) {
        let new = self.keyring.lock().unwrap_or_else(PoisonError::into_inner).learn(keys);
        if new {
            tracing::info!("an age identity was lent");
            // Told in the log and in `server status`.
            let _ = self.reload().await;
        }
    }

    /// Reads the site again; a bad one leaves the last good one in force for what runs.
    async fn reload(&self) -> Result<(), Refusal> {
        let choice = self.settings.site.clone();
        let keys = self.keyring.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = tokio::task::spawn_blocking(move || Site::open(&choice, &keys)).await;
        match opened.map_err(|error| internal("the site was not read to its end", &error))? {
            Ok(site) => {
                self.engine.set_site(Arc::new(site));
                self.site_problem.send_replace(None);
                tracing::info!("the site was read again");
                Ok(())
            }
            Err(broken) => {
                tracing::warn!(why = broken.message(), "the last good site stays in force");
                let refusal = broken.refusal();
                self.site_problem.send_replace(Some(Arc::new(broken)));
                Err(refusal)
            }
        }
    }

    /// Reads the certificate again, and looks at the repositories again.
    fn reload_served(&self) {
        let problem = self.endpoint.renew(self.settings.serving.certificate.as_ref()).err().map(|refusal| {
            tracing::warn!(why = refusal.error.message, "the last good certificate stays in force");
            refusal.error.message
        });
        self.serving_problem.send_replace(problem);
        if let Some(repos) = &self.repos {
            repos.look_again(&self.life);
        }
    }

    /// Sees to it that what is asked now is answered from the site as it is on disk now. Refused where that is a bad one.
    async fn look_again(&self) -> Result<(), Refusal> {
        let (site, choice) = (self.engine.site(), self.settings.site.clone());
        let changed = tokio::task::spawn_blocking(move || site::has_changed(&site, &choice)).await;
        let changed = changed.map_err(|error| internal("the site was not looked at to its end", &error))?;
        if changed || self.site_problem.borrow().is_some() { self.reload().await } else { Ok(()) }
    }
}

/// The age identities of the user who runs the daemon itself. One that a command starts is lent that command's instead.
fn own_keys(mode: Mode) -> Keys {
    match mode {
        Mode::Foreground => Keys::of_user(|name| std::env::var_os(name)).0,
        Mode::Background | Mode::OnDemand => Keys::default(),
    }
}

fn reload_on_hangup(daemon: &Daemon) -> Result<(), Refusal> {
    let mut hangups =
        signal(SignalKind::hangup()).map_err(|source| internal("signals cannot be listened for", &source))?;
    let daemon = daemon.clone();
    let ending = daemon.life.ending.clone();
    daemon.life.tracker.clone().spawn(async move {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                hangup = hangups.recv() => if hangup.is_none() { return },
            }
            notify::reloading();
            // What goes wrong is told in the log and in `server status`.
            let _ = daemon.reload().await;
            daemon.reload_served();
            notify::ready();
        }
    });
    Ok(())
}

/// Ends the daemon when its state folder is gone: nobody would find it any more, and nothing could be kept.
fn end_with(daemon: &Daemon, folder: &Folder) {
    let (life, path) = (daemon.life.clone(), folder.path().to_owned());
    life.tracker.clone().spawn(async move {
        tokio::select! {
            () = life.ending.cancelled() => {}
            () = gone(&path, folder::LOCK) => {
                tracing::warn!(state_dir = %path.display(), "the state folder is gone");
                life.ending.cancel();
            }
        }
    });
}

/// The repositories that are to be served. Where no token is given, one is drawn: never is there none.
async fn open_repos(settings: &Settings, folder: &Folder) -> Result<Option<Arc<Repos>>, Refusal> {
    let Some(path) = &settings.serving.repos else { return Ok(None) };
    let token = match &settings.serving.repo_token {
        Some(token) => token.clone(),
        None => {
            let bits = u128::from_ne_bytes(random().map_err(|fault| refuse(&fault))?);
            Secret::new(format!("{bits:032x}"))
        }
    };
    let opened = Repos::open(path, &folder.repos(), token).await;
    opened.map(Some).map_err(|fault| Refusal::new(Exit::Configuration, &fault))
}

/// Where agents for machines of other architectures may lie: in the site, and in the state folder.
fn program_folders(settings: &Settings, folder: &Folder) -> Vec<PathBuf> {
    let site = match &settings.site {
        SiteChoice::Folder(site) => Some(site.join("agents")),
        SiteChoice::Demo => None,
    };
    site.into_iter().chain([folder.programs()]).collect()
}

/// Waits until the endpoint answers: nobody is told that the daemon is up before it is. One that is to end is not waited for.
async fn healthy(daemon: &Daemon) -> Result<(), Refusal> {
    let until = Instant::now() + READY_LIMIT;
    loop {
        let answers = tokio::select! {
            () = daemon.life.ending.cancelled() => return Ok(()),
            answers = daemon.endpoint.answers() => answers,
        };
        match answers {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() >= until => {
                return Err(Refusal::new(Exit::Failed, &Fault::new(Code::Timeout, why)));
            }
            Err(_) => tokio::time::sleep(READY_LOOK).await,
        }
    }
}

fn open_store(folder: &Folder, endpoint: &Endpoint, random: u128) -> Result<Store, Refusal> {
    let key = SealKey::new(&endpoint.journal_key()).ok_or_else(|| internal_text("the store's key is none"))?;
    Store::open(&folder.store(), key, random).map_err(|error| Refusal::new(Exit::Failed, &error.fault()))
}

fn limits() -> Result<LimitOverrides, Refusal> {
    let text = std::env::var("HOMESTAK_LIMITS").unwrap_or_default();
    LimitOverrides::parse(&text).map_err(|why| usage("HOMESTAK_LIMITS", &why))
}

fn usage(variable: &str, why: &str) -> Refusal {
    let fault =
        Fault::new(Code::NotFound, format!("{variable}: {why}")).hint("leave it out, or write it as documented");
    Refusal::new(Exit::Usage, &fault)
}

fn internal_text(message: impl Into<String>) -> Refusal {
    Refusal::new(Exit::Failed, &Fault::new(Code::Internal, message))
}

/// A refusal that tells an error with its causes.
fn internal(what: &str, error: &dyn std::error::Error) -> Refusal {
    internal_text(format!("{what}: {}", chain(error)))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}
