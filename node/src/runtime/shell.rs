//! The shell's task: inputs in, one write, effects out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use homestak_protocol::event::{Phase, Progress, Scope};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::{Generation, Position, RunId};
use homestak_protocol::message::{Reply, Report, Welcome};
use homestak_protocol::path::{NodePath, TreeId};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::glance::Watches;
use super::handle::{Call, Handle, Status};
use super::timers::Timers;
use super::{BootSource, Update, look};
use crate::core::Core;
use crate::core::record::Record;
use crate::core::step::{Answer, Effect, Input, Inquiry, Moment, Output, Ticket, Told, Who, Work};
use crate::crash::{self, Side};
use crate::journal::Journal;
use crate::lifecycle::Lifecycle;
use crate::link::{Grant, HelloParts, HubEvent, LinkCommand, LinkHandle, LinkId, UplinkEvent};
use crate::world::{Glance, Task, World};

/// How many calls of the edge may wait.
const CALLS: usize = 64;
/// How many results of work may wait; each ends a task, so there are no more than tasks.
const RESULTS: usize = 1024;
/// How many updates a listener may be behind before it is told that it has missed some.
const UPDATES: usize = 4096;
/// How many inputs one write may cover: past this, latency counts for more than throughput.
const BATCH: usize = 256;
/// The pause after a failed write. The disk is full, or worse: nothing is done until what was decided can be remembered.
const WRITE_RETRY: Duration = Duration::from_secs(1);
/// How far our clock may be from the parent's before the parent's is used instead.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// What the shell is made of.
pub(super) struct Parts {
    pub(super) place: NodePath,
    pub(super) core: Core,
    pub(super) journal: Box<dyn Journal>,
    pub(super) world: Arc<dyn World>,
    pub(super) hub: Option<mpsc::Receiver<HubEvent>>,
    pub(super) uplink: Option<mpsc::Receiver<UplinkEvent>>,
    pub(super) boot: BootSource,
    pub(super) crash: crash::Plan,
}

/// Who waits for an answer.
enum Waiting {
    Grant(oneshot::Sender<Result<Grant, Fault>>),
    Joined(oneshot::Sender<Result<Position, Fault>>),
    Reply(oneshot::Sender<Reply>),
}

/// What tasks of the shell's own tell it.
enum Inner {
    Input(Input),
    Progress(Progress),
    /// A look has been had.
    Looked(Ticket, Reply),
}

struct Shell {
    place: NodePath,
    core: Core,
    journal: Option<Box<dyn Journal>>,
    world: Arc<dyn World>,
    boot: BootSource,
    crash: crash::Plan,
    life: Lifecycle,
    timers: Timers,
    links: BTreeMap<LinkId, LinkHandle>,
    waiting: BTreeMap<Ticket, Waiting>,
    tickets: u64,
    working: BTreeMap<(TreeId, Who), CancellationToken>,
    watches: Watches,
    reports: Option<mpsc::Sender<Report>>,
    /// Reports on their way to the uplink, which may be slower than we are. Entries are bounded by the core's window,
    /// the rest by the number of nodes, since only the latest word on each is kept.
    outgoing: VecDeque<Report>,
    parent: Option<Arc<Welcome>>,
    clock_offset_ms: i64,
    inner: mpsc::Sender<Inner>,
    updates: broadcast::Sender<Update>,
    ready: Vec<Input>,
}

/// Starts the shell's task.
pub(super) fn spawn(parts: Parts, life: &Lifecycle) -> Handle {
    let (calls, calls_rx) = mpsc::channel(CALLS);
    let (inner, inner_rx) = mpsc::channel(RESULTS);
    let (updates, _) = broadcast::channel(UPDATES);
    let shell = Shell {
        place: parts.place,
        core: parts.core,
        journal: Some(parts.journal),
        world: parts.world,
        boot: parts.boot,
        crash: parts.crash,
        life: life.clone(),
        timers: Timers::default(),
        links: BTreeMap::new(),
        waiting: BTreeMap::new(),
        tickets: 0,
        working: BTreeMap::new(),
        watches: Watches::default(),
        reports: None,
        outgoing: VecDeque::new(),
        parent: None,
        clock_offset_ms: 0,
        inner,
        updates: updates.clone(),
        ready: vec![Input::Start],
    };
    life.tracker.spawn(shell.run(calls_rx, inner_rx, parts.hub, parts.uplink));
    Handle { calls, updates }
}

impl Shell {
    async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        mut inner: mpsc::Receiver<Inner>,
        mut hub: Option<mpsc::Receiver<HubEvent>>,
        mut uplink: Option<mpsc::Receiver<UplinkEvent>>,
    ) {
        let ending = self.life.ending.clone();
        while self.turn().await {
            let due = self.timers.next();
            let reports = self.reports.clone().filter(|_| !self.outgoing.is_empty());
            tokio::select! {
                biased;
                () = ending.cancelled() => break,
                Some(word) = inner.recv() => self.heard(word),
                Some(event) = receive(&mut hub) => self.hub_said(event),
                Some(event) = receive(&mut uplink) => self.uplink_said(event),
                Some(call) = calls.recv() => self.called(call),
                () = sleep_until(due) => {}
                permit = reserve(reports) => self.hand_over(permit),
            }
            // Whatever else is ready shares the write.
            while self.ready.len() < BATCH {
                if let Ok(word) = inner.try_recv() {
                    self.heard(word);
                } else if let Some(event) = hub.as_mut().and_then(|hub| hub.try_recv().ok()) {
                    self.hub_said(event);
                } else if let Some(event) = uplink.as_mut().and_then(|uplink| uplink.try_recv().ok()) {
                    self.uplink_said(event);
                } else if let Some(key) = self.timers.due() {
                    self.ready.push(Input::Timer(key));
                } else {
                    break;
                }
            }
        }
        for cancel in self.working.values() {
            cancel.cancel();
        }
    }

    /// Steps the core through what is ready, writes, and does what it wants done. False once the process is ending.
    async fn turn(&mut self) -> bool {
        let mut all = Output::default();
        for input in std::mem::take(&mut self.ready) {
            let Some(now) = self.moment() else { return false };
            if let Input::Worked { tree, who, .. } = &input {
                self.working.remove(&(tree.clone(), who.clone()));
            }
            let (up, down) = (matches!(input, Input::Up { .. }), matches!(input, Input::Down));
            if up || down {
                // Meant for the link before. What is still to be told follows from where the parent says that it is.
                all.effects.retain(|effect| !matches!(effect, Effect::Report(_)));
            }
            let Output { records, effects } = self.core.step(now, input);
            all.records.extend(records);
            all.effects.extend(effects);
            let agents = if up { self.core.agents() } else { Vec::new() };
            if !agents.is_empty() {
                all.effects.push(Effect::Report(Report::Presence(agents)));
            }
        }
        if !all.records.is_empty() && !self.write(all.records).await {
            return false;
        }
        for effect in all.effects {
            self.perform(effect);
        }
        true
    }

    /// Writes, however long it takes. False once the process is ending: then nothing that was decided has been done.
    async fn write(&mut self, records: Vec<Record>) -> bool {
        let mut names: Vec<_> = records.iter().map(Record::name).collect();
        names.sort_unstable();
        names.dedup();
        for name in &names {
            self.crash.reach(&format!("journal.{name}"), Side::Before, &self.place);
        }
        let records = Arc::new(records);
        let mut failed = false;
        loop {
            let Some(mut journal) = self.journal.take() else { return false };
            let batch = Arc::clone(&records);
            let appended = tokio::task::spawn_blocking(move || {
                let result = journal.append(&batch);
                (journal, result)
            });
            let Ok((journal, result)) = appended.await else { return false };
            self.journal = Some(journal);
            match result {
                Ok(()) => break,
                Err(error) if !failed => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "nothing is done until this can be written"
                    );
                    failed = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.life.ending.cancelled() => return false,
                () = tokio::time::sleep(WRITE_RETRY) => {}
            }
        }
        if failed {
            tracing::info!("writing works again");
        }
        for name in &names {
            self.crash.reach(&format!("journal.{name}"), Side::After, &self.place);
        }
        true
    }

    fn moment(&self) -> Option<Moment> {
        let now = system_ms().saturating_add_signed(self.clock_offset_ms);
        Some(Moment { wall_ms: now, random: random_bits()? })
    }

    fn ticket(&mut self, waiting: Waiting) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, waiting);
        ticket
    }

    fn heard(&mut self, word: Inner) {
        match word {
            Inner::Input(input) => self.ready.push(input),
            Inner::Progress(progress) => {
                self.tell(Update::Progress(Arc::new(progress.clone())));
                self.report(Report::Progress(vec![progress]));
            }
            Inner::Looked(ticket, reply) => self.answer(ticket, Answer::Reply(reply)),
        }
    }

    fn hub_said(&mut self, event: HubEvent) {
        let input = match event {
            HubEvent::Enrol { token, key, address, answer } => {
                tracing::debug!(%address, %key, "a machine asks to enrol");
                Input::Enrol { ticket: self.ticket(Waiting::Grant(answer)), token, key }
            }
            HubEvent::Renew { path, key, answer, .. } => {
                Input::Renew { ticket: self.ticket(Waiting::Grant(answer)), path, key }
            }
            HubEvent::Join { key, address, protocol, hello, link, answer } => {
                let id = link.id;
                self.links.insert(id, link);
                let ticket = self.ticket(Waiting::Joined(answer));
                Input::Join { ticket, link: id, key, address, protocol, hello }
            }
            HubEvent::Report { path, link, report } => Input::Report { path, link, report },
            HubEvent::Left { path, link, reason } => {
                tracing::info!(child = %path, %reason, "a child's link is gone");
                self.links.remove(&link);
                Input::Left { path, link }
            }
        };
        self.ready.push(input);
    }

    fn uplink_said(&mut self, event: UplinkEvent) {
        match event {
            UplinkEvent::Dialling { answer } => {
                let known = self.core.known();
                let (journal, generations) = (known.journal, known.generations);
                // Nobody waits any more if the uplink has been told to end meanwhile.
                let _ = answer.send(HelloParts { journal, generations, facts: self.world.facts() });
            }
            UplinkEvent::Up { welcome, reports } => {
                let ours = system_ms();
                self.clock_offset_ms = match welcome.now_ms.abs_diff(ours) {
                    apart if apart > CLOCK_TOLERANCE_MS => welcome.now_ms.checked_signed_diff(ours).unwrap_or(0),
                    _ => 0,
                };
                self.reports = Some(reports);
                self.outgoing.clear();
                self.ready.push(Input::Up { seen: welcome.seen, protocol: welcome.protocol });
                let welcome: Arc<Welcome> = Arc::from(welcome);
                self.parent = Some(Arc::clone(&welcome));
                self.tell(Update::Up(welcome));
            }
            UplinkEvent::Acked(upto) => self.ready.push(Input::Acked(upto)),
            UplinkEvent::Request { request, answer } => {
                let ticket = self.ticket(Waiting::Reply(answer));
                self.ready.push(Input::Request { ticket, request });
            }
            UplinkEvent::Down { reason } => {
                tracing::info!(%reason, "the link to the parent is gone");
                self.reports = None;
                self.outgoing.clear();
                self.parent = None;
                self.ready.push(Input::Down);
                self.tell(Update::Down);
            }
        }
    }

    fn called(&mut self, call: Call) {
        // Whoever asked may be gone by the time of the answer; that is theirs to know.
        match call {
            Call::Ask(ask, answer) => {
                let ticket = self.ticket(Waiting::Reply(answer));
                self.ready.push(Input::Local { ticket, ask });
            }
            Call::Tree(tree, answer) => drop(answer.send(self.core.tree(&tree))),
            Call::Trees(answer) => drop(answer.send(self.core.trees())),
            Call::Agents(answer) => drop(answer.send(self.core.agents())),
            Call::HeldSpec(identity, token, answer) => {
                drop(answer.send(self.core.held_spec(&identity, token.expose())));
            }
            Call::ToPull(path, answer) => drop(answer.send(self.core.to_pull(&path))),
            Call::Knows(path, key, answer) => {
                let _ = answer.send(self.core.knows(&path, key));
            }
            Call::Gave(token, answer) => {
                let holder = self.core.holder(token.expose());
                let _ = answer.send(holder.is_some_and(|peer| !peer.revoked));
            }
            Call::Status(answer) => {
                let status = Status {
                    place: self.place.clone(),
                    parent: self.parent.as_deref().cloned(),
                    trees: self.core.trees(),
                    children: self.core.children(),
                };
                drop(answer.send(status));
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        let name = effect.name().map(|name| format!("effect.{name}"));
        if let Some(name) = &name {
            self.crash.reach(name, Side::Before, &self.place);
        }
        match effect {
            Effect::Work { tree, who, scope, generation, work } => self.begin(tree, who, scope, generation, work, name),
            Effect::CancelWork { tree, who } => {
                if let Some(cancel) = self.working.get(&(tree, who)) {
                    cancel.cancel();
                }
            }
            Effect::Send { path, link, request, sent } => {
                let handle = self.links.get(&link).cloned();
                let (inner, ending) = (self.inner.clone(), self.life.ending.clone());
                let crash = (self.crash.clone(), name, self.place.clone());
                self.life.tracker.spawn(async move {
                    let ask = async {
                        let (answer, wait) = oneshot::channel();
                        handle?.commands.send(LinkCommand::Request(request, answer)).await.ok()?;
                        wait.await.ok()
                    };
                    let reply = tokio::select! {
                        () = ending.cancelled() => return,
                        reply = ask => reply,
                    };
                    if let (crash, Some(name), place) = &crash {
                        crash.reach(name, Side::After, place);
                    }
                    let _ = inner.send(Inner::Input(Input::Sent { sent, path, link, reply })).await;
                });
            }
            Effect::Ack { link, upto, .. } => self.command(link, LinkCommand::Ack(upto)),
            Effect::Close { path, link, why } => {
                tracing::warn!(child = %path, code = why.code.as_str(), why = %why.message, "closing a child's link");
                self.command(link, LinkCommand::Close(why));
                self.links.remove(&link);
            }
            Effect::Inquire { ticket, inquiry } => self.look(ticket, inquiry),
            Effect::Watch { tree, path, scope, generation } => {
                self.watch(Scope { tree, run: scope, generation }, path);
            }
            Effect::Unwatch { tree, path } => self.watches.end(&(tree, path)),
            Effect::Answer { ticket, answer } => self.answer(ticket, answer),
            Effect::Report(report) => self.report(report),
            Effect::Timer { key, after_ms } => self.timers.arm(key, Duration::from_millis(after_ms)),
            Effect::Told(told) => self.tell(match told {
                Told::Event(event) => Update::Event(Arc::from(event)),
                Told::Presence(presence) => Update::Presence(Arc::from(presence)),
                Told::Progress(progress) => Update::Progress(Arc::from(progress)),
                Told::Settled(tree, generation) => Update::Settled(tree, generation),
            }),
        }
    }

    /// Begins work in a task of its own, which comes back with its result.
    fn begin(&mut self, tree: TreeId, who: Who, run: RunId, generation: Generation, work: Work, name: Option<String>) {
        let cancel = CancellationToken::new();
        self.working.insert((tree.clone(), who.clone()), cancel.clone());
        let path = match &who {
            Who::Own => self.place.clone(),
            Who::Child(path) => path.clone(),
        };
        let scope = Scope { tree: tree.clone(), run, generation };
        let phase = work.phase();
        let (inner, place) = (self.inner.clone(), path.clone());
        let progress = move |text: String| {
            // The latest word counts, and a full channel means that there are many others to be heard first.
            let word = Progress { scope: scope.clone(), path: place.clone(), phase, text };
            let _ = inner.try_send(Inner::Progress(word));
        };
        let task = Task { cancel, progress: Arc::new(progress) };
        let (world, inner, ending) = (Arc::clone(&self.world), self.inner.clone(), self.life.ending.clone());
        let boot = (self.boot)(&path);
        let (crash, me) = (self.crash.clone(), self.place.clone());
        self.life.tracker.spawn(async move {
            let done = super::work::done(&*world, &tree, path, run, work, boot, task);
            let result = tokio::select! {
                () = ending.cancelled() => return,
                result = done => result,
            };
            if let Some(name) = name {
                crash.reach(&name, Side::After, &me);
            }
            let _ = inner.send(Inner::Input(Input::Worked { tree, who, result })).await;
        });
    }

    /// Looks at machines in a task of its own, and answers whoever holds the ticket.
    fn look(&self, ticket: Ticket, inquiry: Inquiry) {
        let looking = look::answer(Arc::clone(&self.world), inquiry, self.life.ending.child_token());
        let inner = self.inner.clone();
        self.life.tracker.spawn(async move { inner.send(Inner::Looked(ticket, looking.await)).await.is_ok() });
    }

    /// Has it looked at, now and then, what a machine waits for.
    fn watch(&mut self, scope: Scope, path: NodePath) {
        let (inner, tree, place) = (self.inner.clone(), scope.tree.clone(), path.clone());
        let tell = move |glance: Glance| {
            let text = glance.layer.say(&glance.text);
            let word = Progress { scope: scope.clone(), path: place.clone(), phase: Phase::Boot, text };
            // The latest word counts, and the next look is soon.
            let _ = inner.try_send(Inner::Progress(word));
            let (tree, path) = (scope.tree.clone(), place.clone());
            let _ = inner.try_send(Inner::Input(Input::Glimpsed { tree, path, glance }));
        };
        self.watches.begin((tree, path), Arc::clone(&self.world), &self.life, tell);
    }

    /// Sends a command without waiting for a link that is slow to take it.
    fn command(&self, link: LinkId, command: LinkCommand) {
        let Some(handle) = self.links.get(&link) else { return };
        let place = &self.place;
        match handle.commands.try_send(command) {
            Ok(()) => self.crash.reach("effect.ack", Side::After, place),
            Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(command)) => {
                let commands = handle.commands.clone();
                self.life.tracker.spawn(async move { commands.send(command).await.is_ok() });
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        // A peer that has hung up meanwhile asks again.
        match (self.waiting.remove(&ticket), answer) {
            (Some(Waiting::Grant(waiting)), Answer::Grant(grant)) => {
                refusal("enrolment", grant.as_ref().err());
                drop(waiting.send(grant));
            }
            (Some(Waiting::Joined(waiting)), Answer::Joined(joined)) => {
                refusal("join", joined.as_ref().err());
                drop(waiting.send(joined));
            }
            (Some(Waiting::Reply(waiting)), Answer::Reply(reply)) => {
                if let Reply::Refused(fault) = &reply {
                    refusal("request", Some(fault));
                }
                drop(waiting.send(reply));
            }
            _ => return,
        }
        self.crash.reach("effect.answer", Side::After, &self.place);
    }

    /// Queues a report for the uplink. Of presence and progress only the latest word on a node is kept.
    fn report(&mut self, report: Report) {
        if self.reports.is_none() {
            return;
        }
        match &report {
            Report::Entries(_) => {}
            Report::Presence(new) => self.outgoing.iter_mut().for_each(|waiting| {
                if let Report::Presence(old) = waiting {
                    old.retain(|old| !new.iter().any(|new| new.path == old.path));
                }
            }),
            Report::Progress(new) => self.outgoing.iter_mut().for_each(|waiting| {
                if let Report::Progress(old) = waiting {
                    old.retain(|old| !new.iter().any(|new| new.path == old.path));
                }
            }),
        }
        let told = matches!(report, Report::Entries(_));
        self.outgoing.push_back(report);
        while let (Some(reports), Some(next)) = (&self.reports, self.outgoing.pop_front()) {
            if let Err(error) = reports.try_send(next) {
                if let mpsc::error::TrySendError::Full(next) = error {
                    self.outgoing.push_front(next);
                }
                break;
            }
        }
        if told {
            self.crash.reach("effect.report", Side::After, &self.place);
        }
    }

    fn hand_over(&mut self, permit: Option<mpsc::OwnedPermit<Report>>) {
        match (permit, self.outgoing.pop_front()) {
            (Some(permit), Some(report)) => drop(permit.send(report)),
            (None, _) => self.reports = None,
            (Some(_), None) => {}
        }
    }

    fn tell(&self, update: Update) {
        // Nobody may be listening.
        let _ = self.updates.send(update);
    }
}

fn refusal(what: &str, fault: Option<&Fault>) {
    if let Some(fault) = fault {
        tracing::warn!(what, code = fault.code.as_str(), node = fault.node.as_ref().map(NodePath::as_str), why = %fault.message, "refused");
    }
}

async fn receive<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn reserve(reports: Option<mpsc::Sender<Report>>) -> Option<mpsc::OwnedPermit<Report>> {
    match reports {
        Some(reports) => reports.reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}

/// Milliseconds since 1970 by this machine's clock.
fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// 128 bits of chance; none where the system has none to give.
pub(super) fn random_bits() -> Option<u128> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(u128::from_ne_bytes(bytes))
}
