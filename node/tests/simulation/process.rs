//! Processes: what is on their disk, what is in their memory, and the turn that they take: inputs in, one write, effects
//! out, with death possible before the write and between any two effects.

use std::collections::BTreeMap;

use homestak_node::core::Core;
use homestak_node::core::record::{Image, Record};
use homestak_node::core::step::{Answer, Effect, Input, Moment, Output, Ticket, Who};
use homestak_node::link::{Grant, KeyId};
use homestak_protocol::ids::{Generation, JournalId};
use homestak_protocol::message::{Report, Request};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use crate::clock::Happening;
use crate::sim::{COORDINATOR, Sim};
use crate::wire::WireId;
use crate::world::JobId;

/// Which process; never given twice.
pub(crate) type Pid = usize;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Enrol { child: Pid, life: u32, attempt: u32 },
    Join(WireId, NodePath),
    Request(WireId, u64),
    Driver,
    Nobody,
}

/// A process.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) place: NodePath,
    /// What is on its disk.
    pub(crate) disk: Image,
    /// What is in its memory; none while it is down or has not been let in for the first time.
    pub(crate) core: Option<Core>,
    /// Counts its lives: whatever was meant for an earlier one is void.
    pub(crate) life: u32,
    pub(crate) on: bool,
    /// Its machine is gone.
    pub(crate) dead: bool,
    pub(crate) key: KeyId,
    pub(crate) token: Option<Secret>,
    pub(crate) grant: Option<Grant>,
    /// The link over which it has been welcomed.
    pub(crate) uplink: Option<WireId>,
    pub(crate) attempt: u32,
    pub(crate) refusals: u32,
    pub(crate) waiting: BTreeMap<Ticket, Waiting>,
    pub(crate) jobs: BTreeMap<(TreeId, Who), JobId>,
    /// Requests that it has heard, for those who would have it hear them again.
    pub(crate) heard: Vec<Request>,
    /// When it last started.
    pub(crate) started: u64,
    /// Children that are there (none) or have left (since when); the others have been away since the start.
    pub(crate) absent: BTreeMap<NodePath, Option<u64>>,
    /// How wrong its clock is.
    skew: u64,
    inbox: Vec<Input>,
    /// Machines that the inbox says are there, and the generations of the work that says so.
    pub(crate) ensured: Vec<(NodePath, Generation)>,
    journal: JournalId,
}

impl Sim {
    /// A process that has never run.
    pub(crate) fn found(&mut self, place: NodePath, token: Option<Secret>) -> Pid {
        let pid = self.processes.len();
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.chance.bits().to_le_bytes());
        let skew = if self.chance.mille(100) { 0 } else { 1_700_000_000_000 + self.chance.below(1000) };
        let grant = place
            .is_coordinator()
            .then(|| Grant { path: place.clone(), incarnation: homestak_protocol::ids::Incarnation::from_bits(0) });
        self.processes.push(Process {
            place: place.clone(),
            disk: Image::default(),
            core: None,
            life: 0,
            on: false,
            dead: false,
            key: KeyId(key),
            token,
            grant,
            uplink: None,
            attempt: 0,
            refusals: 0,
            waiting: BTreeMap::new(),
            jobs: BTreeMap::new(),
            heard: Vec::new(),
            started: 0,
            absent: BTreeMap::new(),
            skew,
            inbox: Vec::new(),
            ensured: Vec::new(),
            journal: JournalId::from_bits(self.chance.bits()),
        });
        self.at.insert(place, pid);
        pid
    }

    /// It gets power.
    pub(crate) fn power(&mut self, pid: Pid, life: u32) {
        let process = &mut self.processes[pid];
        if process.life != life || process.on || process.dead {
            return;
        }
        process.on = true;
        process.refusals = 0;
        self.boot(pid);
        if !self.processes[pid].place.is_coordinator() {
            self.dial_soon(pid, 0, 50);
        }
    }

    /// Reads its disk and starts, if it knows its place.
    pub(crate) fn boot(&mut self, pid: Pid) {
        let now = self.clock.now;
        let compacts = self.chance.mille(400);
        let process = &mut self.processes[pid];
        if process.grant.is_none() || process.core.is_some() {
            return;
        }
        if compacts {
            let mut disk = Image::default();
            for record in std::mem::take(&mut process.disk).into_records(&process.place) {
                disk.apply(record);
            }
            process.disk = disk;
        }
        let mut image = process.disk.clone();
        if let Some(planted) = self.planted {
            planted.on_waking(&mut image);
        }
        let core = Core::restore(process.place.clone(), true, process.journal, image);
        process.core = Some(core.expect("what was accepted can be read again"));
        process.started = now;
        process.absent.clear();
        self.trace(pid, || "starts".to_owned());
        self.arrive(pid, Input::Start);
    }

    /// It dies, and comes back after a while.
    pub(crate) fn crash(&mut self, pid: Pid) {
        let pause =
            if self.chance.mille(100) { self.chance.between(5_000, 20_000) } else { self.chance.between(20, 3000) };
        self.kill(pid);
        let life = self.processes[pid].life;
        if !self.processes[pid].dead {
            self.clock.after(pause, Happening::Power(pid, life));
        }
    }

    /// It dies.
    pub(crate) fn kill(&mut self, pid: Pid) {
        self.trace(pid, || "dies".to_owned());
        self.news += u64::from(pid == COORDINATOR);
        let process = &mut self.processes[pid];
        process.life += 1;
        process.on = false;
        process.core = None;
        process.uplink = None;
        process.inbox.clear();
        process.ensured.clear();
        process.waiting.clear();
        let jobs = std::mem::take(&mut process.jobs);
        self.cut_all(pid);
        for job in jobs.into_values() {
            self.abandon(job);
        }
    }

    /// Something reaches a process; it is taken up in its next turn.
    pub(crate) fn arrive(&mut self, pid: Pid, input: Input) {
        let wait = if self.chance.mille(300) { self.chance.between(0, 5) } else { 0 };
        let process = &mut self.processes[pid];
        if process.core.is_none() {
            return;
        }
        if process.inbox.is_empty() {
            let life = process.life;
            self.clock.after(wait, Happening::Turn(pid, life));
        }
        process.inbox.push(input);
    }

    /// A process's turn.
    pub(crate) fn turn(&mut self, pid: Pid, life: u32) {
        let process = &mut self.processes[pid];
        if process.life != life {
            return;
        }
        let Some(core) = process.core.as_mut() else { return };
        let wall_ms = process.skew + self.clock.now;
        let mut all = Output::default();
        let ensured = std::mem::take(&mut process.ensured);
        for input in std::mem::take(&mut process.inbox) {
            if let Input::Left { path, .. } = &input {
                process.absent.entry(path.clone()).or_default().get_or_insert(self.clock.now);
            }
            if let Some(lines) = self.lines.as_mut()
                && let Some(text) = crate::tracing::of_input(&input)
            {
                lines.push((self.clock.now, process.place.clone(), text));
            }
            let output = core.step(Moment { wall_ms, random: self.chance.bits() }, input);
            all.records.extend(output.records);
            all.effects.extend(output.effects);
        }
        if let Some(planted) = self.planted {
            planted.on_turn(&mut all);
        }
        let death = self.death(&all);
        self.turns += 1;
        self.news += u64::from(pid == COORDINATOR);
        if death == Some(0) {
            let early = self.planted.is_some_and(|planted| planted.acknowledges_early());
            if early {
                self.perform_acks(all.effects);
            }
            return self.crash(pid);
        }
        let works = all.effects.iter().filter_map(|effect| match effect {
            Effect::Work { tree, who, .. } => Some((tree, who)),
            _ => None,
        });
        self.watch_before(pid, works);
        self.append(pid, all.records);
        for (place, generation) in ensured {
            self.reported(&place, generation);
        }
        let mut left = death;
        for effect in all.effects {
            if matters(&effect) {
                match left.as_mut() {
                    Some(1) => return self.crash(pid),
                    Some(left) => *left -= 1,
                    None => {}
                }
            }
            self.perform(pid, effect);
        }
        if left.is_some() {
            self.crash(pid);
        }
    }

    /// Whether the process dies in this turn: 0 before its records are on disk, `n` before the n-th effect after that.
    fn death(&mut self, all: &Output) -> Option<usize> {
        let nothing = all.records.is_empty() && all.effects.is_empty();
        let points = 1 + all.effects.iter().filter(|effect| matters(effect)).count().max(1);
        if let Some(point) = self.dies_at.take() {
            self.died = point < points && !nothing;
            return self.died.then_some(point);
        }
        if nothing {
            return None;
        }
        let odds = self.fate.climate.crash;
        self.fate.strikes(odds).then(|| self.chance.index(points))
    }

    /// Records reach the disk, all at once.
    fn append(&mut self, pid: Pid, records: Vec<Record>) {
        for record in records {
            self.watch_record(pid, &record);
            self.processes[pid].disk.apply(record);
        }
    }

    fn perform_acks(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Ack { link, upto, .. } = effect {
                self.send_ack(link, upto);
            }
        }
    }

    fn perform(&mut self, pid: Pid, effect: Effect) {
        if self.lines.is_some() {
            let place = self.processes[pid].place.clone();
            if let (Some(text), Some(lines)) = (crate::tracing::of_effect(&effect), self.lines.as_mut()) {
                lines.push((self.clock.now, place, text));
            }
        }
        match effect {
            Effect::Work { tree, who, generation, work, .. } => self.begin_job(pid, tree, who, generation, work),
            Effect::CancelWork { tree, who } => self.cancel_job(pid, tree, who),
            Effect::Send { path, link, request, sent } => self.send_request(link, path, request, sent),
            Effect::Ack { link, upto, .. } => self.send_ack(link, upto),
            Effect::Close { path, link, why } => {
                self.watch_close(pid, &path, &why);
                // Whoever closes a link knows at once that it is gone, unless there is a newer one.
                if !why.message.contains("a newer link")
                    && let Some(since) = self.processes[pid].absent.get_mut(&path)
                {
                    since.get_or_insert(self.clock.now);
                }
                self.close(link);
            }
            Effect::Answer { ticket, answer } => self.answer(pid, ticket, answer),
            Effect::Report(report) => self.send_report(pid, report),
            Effect::Timer { key, after_ms } => {
                let life = self.processes[pid].life;
                self.clock.after(after_ms, Happening::Timer(pid, life, Box::new(key)));
            }
            // Nobody looks here: plans are not part of this.
            Effect::Inquire { .. } => {}
            Effect::Watch { .. } | Effect::Unwatch { .. } | Effect::Told(_) => {}
        }
    }

    fn answer(&mut self, pid: Pid, ticket: Ticket, answer: Answer) {
        let Some(waiting) = self.processes[pid].waiting.remove(&ticket) else {
            return self.broken("every ticket is answered once", pid, format!("{ticket:?} was answered again"));
        };
        match (waiting, answer) {
            (Waiting::Enrol { child, life, attempt }, Answer::Grant(grant)) => {
                self.answer_enrol(child, life, attempt, grant);
            }
            (Waiting::Join(wire, path), Answer::Joined(joined)) => self.answer_join(pid, wire, path, joined),
            (Waiting::Request(wire, number), Answer::Reply(reply)) => self.answer_request(wire, number, reply),
            (Waiting::Driver, Answer::Reply(reply)) => {
                self.answers.insert(ticket, reply);
            }
            (Waiting::Nobody, _) => {}
            (waiting, answer) => {
                self.broken("an answer fits its question", pid, format!("{waiting:?} was answered with {answer:?}"));
            }
        }
    }
}

/// Whether dying before this effect differs from dying before the next one.
fn matters(effect: &Effect) -> bool {
    match effect {
        Effect::Told(_) | Effect::Timer { .. } | Effect::Watch { .. } | Effect::Unwatch { .. } => false,
        Effect::Report(report) => matches!(report, Report::Entries(_)),
        _ => true,
    }
}
