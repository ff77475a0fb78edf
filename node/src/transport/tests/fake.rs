//! A hub and uplinks with cores that answer by a table and remember what they were asked.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homestak_protocol::event::Facts;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Incarnation, JournalId, Position};
use homestak_protocol::message::{Reply, Report, Request};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::{Grant, HelloParts, HubEvent, KeyId, LinkCommand, LinkHandle, LinkId, UplinkEvent};
use crate::transport::addresses::Addresses;
use crate::transport::hub::{Hub, HubOptions};
use crate::transport::limits::Timing;
use crate::transport::uplink::status::UplinkStatus;
use crate::transport::uplink::{Uplink, UplinkOptions};
use crate::trust::ca::Ca;
use crate::trust::clock::Clock;
use crate::trust::identity::{Identity, Introduction};
use crate::trust::pin::CaPin;

/// How long anything may take before a test fails.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A folder of a test's own, gone with it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("homestak-node-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

pub(super) fn life(bits: u128) -> Incarnation {
    Incarnation::from_bits(bits)
}

/// Short times, for tests that wait for them.
pub(super) fn quick() -> Timing {
    Timing {
        connect: Duration::from_secs(2),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        refused_max: Duration::from_millis(200),
        ..Timing::default()
    }
}

/// A machine that the fake core of a hub knows.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) path: NodePath,
    pub(super) life: Incarnation,
    pub(super) key: Option<KeyId>,
    pub(super) revoked: bool,
}

/// What the fake core of a hub remembers.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) machines: HashMap<String, Machine>,
    pub(super) links: HashMap<NodePath, LinkHandle>,
    pub(super) joins: Vec<(NodePath, LinkId, SocketAddr)>,
    pub(super) refused: Vec<Fault>,
    pub(super) reports: Vec<(NodePath, Report)>,
    pub(super) left: Vec<(NodePath, LinkId, String)>,
    pub(super) renewals: usize,
    pub(super) enrolments: usize,
    pub(super) seen: HashMap<NodePath, Position>,
}

/// A running hub and its fake core.
pub(super) struct Parent {
    pub(super) folder: Folder,
    pub(super) ca: Arc<Ca>,
    pub(super) address: SocketAddr,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) changed: watch::Receiver<u64>,
    pub(super) cancel: CancellationToken,
    pub(super) tracker: TaskTracker,
}

/// How a test wants its hub.
pub(super) struct Wish {
    pub(super) bind: SocketAddr,
    pub(super) lifetime: Duration,
    pub(super) timing: Timing,
    pub(super) clock: Clock,
    pub(super) addresses: Addresses,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:0".parse().unwrap(),
            lifetime: Duration::from_secs(3600),
            timing: quick(),
            clock: Clock::system(),
            addresses: Addresses::default(),
        }
    }
}

impl Parent {
    pub(super) fn start() -> Self {
        Self::as_wished(Wish::default())
    }

    pub(super) fn as_wished(wish: Wish) -> Self {
        Self::on(Folder::new(), wish, Arc::default())
    }

    /// On a folder that may hold a CA already.
    pub(super) fn on(folder: Folder, wish: Wish, memory: Arc<Mutex<Memory>>) -> Self {
        let ca = Arc::new(Ca::load_or_create(&folder.0.join("ca"), wish.clock).unwrap());
        let (events, inbox) = mpsc::channel(crate::link::MAILBOX);
        let options = HubOptions {
            lifetime: wish.lifetime,
            timing: wish.timing,
            addresses: wish.addresses,
            ..HubOptions::new(UdpSocket::bind(wish.bind).unwrap(), "1.0-parent")
        };
        let hub = Hub::bind(options, ca.clone(), events).unwrap();
        let address = hub.address();
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        hub.run(&tracker, cancel.clone());
        let (change, changed) = watch::channel(0);
        tokio::spawn(core(inbox, memory.clone(), change));
        Self { folder, ca, address, memory, changed, cancel, tracker }
    }

    /// Makes a machine known.
    pub(super) fn expect(&self, token: &str, at: &str, life: Incarnation) {
        let machine = Machine { path: path(at), life, key: None, revoked: false };
        self.memory.lock().unwrap().machines.insert(token.to_owned(), machine);
    }

    /// Waits until the memory is as wanted.
    pub(super) async fn until<T>(&self, what: &str, mut wanted: impl FnMut(&mut Memory) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let found = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = wanted(&mut self.memory.lock().unwrap()) {
                    return found;
                }
                changed.changed().await.expect("the fake core has ended");
            }
        };
        timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// Asks a child something over its present link.
    pub(super) async fn request(&self, at: &str, request: Request) -> Option<Reply> {
        let link = self.memory.lock().unwrap().links.get(&path(at)).cloned().expect("no link");
        let (answer, answered) = oneshot::channel();
        link.commands.send(LinkCommand::Request(request, answer)).await.ok()?;
        timeout(DEADLINE, answered).await.expect("no answer in time").ok()
    }

    pub(super) fn options(&self, token: &str) -> UplinkOptions {
        options(self.address, self.ca.pin(), token)
    }

    /// Stops it and waits until it is gone.
    pub(super) async fn stop(self) -> (Folder, Arc<Mutex<Memory>>) {
        self.cancel.cancel();
        self.tracker.close();
        timeout(DEADLINE, self.tracker.wait()).await.expect("the hub does not end");
        (self.folder, self.memory)
    }
}

pub(super) fn options(address: SocketAddr, pin: CaPin, token: &str) -> UplinkOptions {
    UplinkOptions {
        servers: vec![address.to_string()],
        told: Introduction { ca: pin, token: Some(Secret::new(token.to_owned())) },
        bind: None,
        software: "1.0-child".into(),
        timing: quick(),
    }
}

async fn core(mut inbox: mpsc::Receiver<HubEvent>, memory: Arc<Mutex<Memory>>, change: watch::Sender<u64>) {
    while let Some(event) = inbox.recv().await {
        let acks = memory.lock().unwrap().take(event);
        if let Some((link, upto)) = acks {
            let _ = link.commands.send(LinkCommand::Ack(upto)).await;
        }
        change.send_modify(|changes| *changes += 1);
    }
}

impl Memory {
    fn take(&mut self, event: HubEvent) -> Option<(LinkHandle, Position)> {
        match event {
            HubEvent::Enrol { token, key, answer, .. } => {
                self.enrolments += 1;
                let _ = answer.send(self.enrol(token.expose(), key));
            }
            HubEvent::Renew { path, key, answer, .. } => {
                self.renewals += 1;
                let _ = answer.send(self.known(&path, key).map(|m| Grant { path: m.path, incarnation: m.life }));
            }
            HubEvent::Join { key, address, hello, link, answer, .. } => match self.known(&hello.path, key) {
                Ok(_) => {
                    self.joins.push((hello.path.clone(), link.id, address));
                    let before = self.links.insert(hello.path.clone(), link);
                    if let Some(before) = before {
                        let why = Fault::new(Code::Identity, "a newer link has taken its place");
                        let _ = before.commands.try_send(LinkCommand::Close(why));
                    }
                    let _ = answer.send(Ok(self.seen.get(&hello.path).copied().unwrap_or_default()));
                }
                Err(fault) => {
                    let _ = answer.send(Err(fault));
                }
            },
            HubEvent::Report { path, link, report } => {
                let upto = match &report {
                    Report::Entries(entries) => entries.last().map(|entry| entry.position),
                    _ => None,
                };
                self.reports.push((path.clone(), report));
                let present = self.links.get(&path).filter(|present| present.id == link).cloned();
                return present.zip(upto);
            }
            HubEvent::Left { path, link, reason } => {
                if self.links.get(&path).is_some_and(|present| present.id == link) {
                    self.links.remove(&path);
                }
                self.left.push((path, link, reason));
            }
        }
        None
    }

    fn enrol(&mut self, token: &str, key: KeyId) -> Result<Grant, Fault> {
        let machine = self.machines.get_mut(token);
        let result = match machine {
            None => Err(Fault::new(Code::TokenRefused, "no machine of ours has this token")),
            Some(machine) if machine.key.is_some_and(|bound| bound != key) => {
                Err(Fault::new(Code::TokenSpent, "another key has shown this token before").at(&machine.path))
            }
            Some(machine) => {
                machine.key = Some(key);
                Ok(Grant { path: machine.path.clone(), incarnation: machine.life })
            }
        };
        self.refused.extend(result.as_ref().err().cloned());
        result
    }

    fn known(&mut self, path: &NodePath, key: KeyId) -> Result<Machine, Fault> {
        let machine = self.machines.values().find(|machine| machine.path == *path && machine.key == Some(key));
        let result = match machine {
            Some(machine) if machine.revoked => Err(Fault::new(Code::TokenSpent, "revoked").at(path)),
            Some(machine) => Ok(machine.clone()),
            None => Err(Fault::new(Code::Identity, "not on record").at(path)),
        };
        self.refused.extend(result.as_ref().err().cloned());
        result
    }
}

/// A running uplink and its fake core.
pub(super) struct Kid {
    pub(super) folder: Folder,
    pub(super) status: watch::Receiver<UplinkStatus>,
    pub(super) up: watch::Receiver<Option<mpsc::Sender<Report>>>,
    pub(super) acked: watch::Receiver<Position>,
    pub(super) requests: Arc<Mutex<HashSet<String>>>,
    pub(super) cancel: CancellationToken,
    pub(super) tracker: TaskTracker,
}

impl Kid {
    pub(super) fn start(options: UplinkOptions) -> Self {
        Self::on(Folder::new(), options, Clock::system())
    }

    /// On a folder that may hold an identity already.
    pub(super) fn on(folder: Folder, options: UplinkOptions, clock: Clock) -> Self {
        let identity = Identity::load_or_create(&folder.0.join("identity"), &options.told).unwrap();
        let mut uplink = Uplink::new(options, identity, clock);
        let (status, cancel, tracker) = (uplink.status(), CancellationToken::new(), TaskTracker::new());
        let (events, inbox) = mpsc::channel(crate::link::MAILBOX);
        let token = cancel.clone();
        tracker.spawn(async move {
            if uplink.enrolled(&token).await.is_some() {
                uplink.run(events, token).await;
            }
        });
        let (up_sender, up) = watch::channel(None);
        let (acked_sender, acked) = watch::channel(Position::default());
        let requests = Arc::default();
        tokio::spawn(child_core(inbox, up_sender, acked_sender, Arc::clone(&requests)));
        Self { folder, status, up, acked, requests, cancel, tracker }
    }

    /// Waits until the uplink stands as wanted.
    pub(super) async fn until(&mut self, what: &str, wanted: impl FnMut(&UplinkStatus) -> bool) -> UplinkStatus {
        let found = timeout(DEADLINE, self.status.wait_for(wanted)).await;
        let status = found.map(|found| found.expect("the uplink has ended").clone());
        status.unwrap_or_else(|_| panic!("waited in vain for {what}: {:?}", self.status.borrow()))
    }

    pub(super) async fn connected(&mut self) -> UplinkStatus {
        self.until("a link", UplinkStatus::is_connected).await
    }

    pub(super) async fn report(&mut self, report: Report) {
        let up = timeout(DEADLINE, self.up.wait_for(Option::is_some)).await.expect("not up in time").unwrap().clone();
        up.unwrap().send(report).await.expect("the link is gone");
    }

    /// Stops it and waits until it is gone.
    pub(super) async fn stop(self) -> Folder {
        self.cancel.cancel();
        self.tracker.close();
        timeout(DEADLINE, self.tracker.wait()).await.expect("the uplink does not end");
        self.folder
    }
}

async fn child_core(
    mut inbox: mpsc::Receiver<UplinkEvent>,
    up: watch::Sender<Option<mpsc::Sender<Report>>>,
    acked: watch::Sender<Position>,
    requests: Arc<Mutex<HashSet<String>>>,
) {
    // Requests that are never answered: Drain.
    let mut kept = Vec::new();
    while let Some(event) = inbox.recv().await {
        match event {
            UplinkEvent::Dialling { answer } => {
                let parts =
                    HelloParts { journal: JournalId::from_bits(1), generations: Vec::new(), facts: Facts::default() };
                let _ = answer.send(parts);
            }
            UplinkEvent::Up { reports, .. } => drop(up.send_replace(Some(reports))),
            UplinkEvent::Acked(upto) => drop(acked.send_replace(upto)),
            UplinkEvent::Request { request, answer } => {
                requests.lock().unwrap().insert(format!("{request:?}"));
                match request {
                    Request::Survey => drop(answer.send(Reply::Surveyed(Vec::new()))),
                    Request::Drain => kept.push(answer),
                    _ => drop(answer.send(Reply::Done)),
                }
            }
            UplinkEvent::Down { .. } => drop(up.send_replace(None)),
        }
    }
}
