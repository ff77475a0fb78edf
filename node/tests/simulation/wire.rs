//! Links between a child and its parent: they delay, hold back, break and are noticed to be broken at different times on
//! both sides. Reports and acknowledgements keep their order within one link; requests do not.

use std::collections::{BTreeMap, VecDeque};

use homestak_node::core::step::{Input, Sent, Ticket};
use homestak_node::link::LinkId;
use homestak_protocol::event::Facts;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Position;
use homestak_protocol::message::{Hello, Reply, Report, Request};
use homestak_protocol::order::ORDER_VERSION;
use homestak_protocol::path::NodePath;
use homestak_protocol::version::SUPPORTED;

use crate::clock::Happening;
use crate::process::{Pid, Waiting};
use crate::sim::Sim;

/// Which link; the core sees the same number.
pub(crate) type WireId = u64;
/// How long until a dead link is noticed at the latest, in milliseconds.
const IDLE: u64 = 10_000;
/// How long a dial may take.
const DIAL_LIMIT: u64 = 5_000;
/// How often a child that is refused comes back before it waits to be told something new.
const MAX_REFUSALS: u32 = 12;

/// A link.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) parent: Pid,
    pub(crate) child: Pid,
    pub(crate) path: NodePath,
    /// It carries what is sent from here on.
    pub(crate) alive: bool,
    /// It has died with everything that was on its way.
    lossy: bool,
    /// The parent believes in it.
    pub(crate) parent_sees: bool,
    /// The child believes in it.
    child_sees: bool,
    /// Welcome has arrived.
    welcomed: bool,
    attempt: u32,
    /// Nothing arrives before this time.
    held_until: u64,
    welcome_at: u64,
    reports: VecDeque<Report>,
    acks: VecDeque<Position>,
    asked: u64,
    unanswered: BTreeMap<u64, Sent>,
}

impl Sim {
    fn latency(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.chance.between(50, 400),
            _ => self.chance.between(1, 15),
        }
    }

    /// Whether something may arrive over a link now; if it is held back, it comes again later.
    fn arrives(&mut self, id: WireId, happening: impl FnOnce() -> Happening) -> bool {
        let now = self.clock.now;
        let Some(wire) = self.wires.get(&id) else { return false };
        if wire.held_until > now {
            let wait = wire.held_until - now;
            self.clock.after(wait, happening());
            return false;
        }
        wire.alive || !wire.lossy
    }

    /// A child's attempt at reaching its parent.
    pub(crate) fn dial(&mut self, pid: Pid, life: u32, attempt: u32) {
        let process = &self.processes[pid];
        if process.life != life || process.attempt != attempt || !process.on {
            return;
        }
        self.drop_uplink(pid);
        let attempt = self.next_attempt(pid);
        let latency = self.latency();
        let process = &self.processes[pid];
        let (place, token) = (process.place.clone(), process.token.clone());
        if token.is_none() || process.refusals > MAX_REFUSALS {
            return;
        }
        let out = self.outages.get(&place).is_some_and(|until| *until > self.clock.now);
        let parent = self.parent_of(&place).filter(|&parent| self.processes[parent].core.is_some() && !out);
        let Some(parent) = parent else {
            let pause = self.chance.between(200, 2500);
            return self.clock.after(pause, Happening::Dial(pid, life, attempt));
        };
        self.clock.after(DIAL_LIMIT, Happening::Dial(pid, life, attempt));
        let process = &self.processes[pid];
        let (Some(grant), Some(core)) = (&process.grant, &process.core) else {
            return self.clock.after(latency, Happening::Enrol { child: pid, life, attempt, parent });
        };
        let known = core.known();
        let hello = Hello {
            versions: SUPPORTED,
            order_version: ORDER_VERSION,
            software: "sim".to_owned(),
            path: place.clone(),
            incarnation: grant.incarnation,
            journal: known.journal,
            generations: known.generations,
            facts: Facts::default(),
        };
        self.wired += 1;
        let wire = Wire {
            parent,
            child: pid,
            path: place,
            alive: true,
            lossy: false,
            parent_sees: false,
            child_sees: true,
            welcomed: false,
            attempt,
            held_until: 0,
            welcome_at: 0,
            reports: VecDeque::new(),
            acks: VecDeque::new(),
            asked: 0,
            unanswered: BTreeMap::new(),
        };
        self.wires.insert(self.wired, wire);
        self.clock.after(latency, Happening::Knock(self.wired, Box::new(hello)));
    }

    /// A number for the next attempt; timeouts of earlier ones are void.
    fn next_attempt(&mut self, pid: Pid) -> u32 {
        let process = &mut self.processes[pid];
        process.attempt += 1;
        process.attempt
    }

    /// Comes back soon.
    pub(crate) fn dial_soon(&mut self, pid: Pid, from: u64, to: u64) {
        let attempt = self.next_attempt(pid);
        let pause = self.chance.between(from, to);
        let life = self.processes[pid].life;
        self.clock.after(pause, Happening::Dial(pid, life, attempt));
    }

    /// The token reaches the parent.
    pub(crate) fn enrol(&mut self, child: Pid, life: u32, attempt: u32, parent: Pid) {
        let (Some(token), key) = (self.processes[child].token.clone(), self.processes[child].key) else { return };
        if self.processes[parent].core.is_none() {
            return;
        }
        let ticket = self.ticket(parent, Waiting::Enrol { child, life, attempt });
        self.arrive(parent, Input::Enrol { ticket, token, key });
    }

    pub(crate) fn answer_enrol(
        &mut self,
        child: Pid,
        life: u32,
        attempt: u32,
        grant: Result<homestak_node::link::Grant, Fault>,
    ) {
        let latency = self.latency();
        self.clock.after(latency, Happening::Granted { child, life, attempt, grant });
    }

    pub(crate) fn granted(
        &mut self,
        child: Pid,
        life: u32,
        attempt: u32,
        grant: Result<homestak_node::link::Grant, Fault>,
    ) {
        let process = &mut self.processes[child];
        if process.life != life || process.attempt != attempt || process.grant.is_some() {
            return;
        }
        match grant {
            Ok(grant) => {
                process.grant = Some(grant);
                self.boot(child);
                self.dial_soon(child, 0, 5);
            }
            Err(_) => {
                process.refusals += 1;
                self.dial_soon(child, 500, 5000);
            }
        }
    }

    /// Hello reaches the parent.
    pub(crate) fn knock(&mut self, id: WireId, hello: Box<Hello>) {
        if !self.arrives(id, || Happening::Knock(id, hello.clone())) {
            return;
        }
        let Some(wire) = self.wires.get(&id) else { return };
        let (parent, child) = (wire.parent, wire.child);
        if self.processes[parent].core.is_none() {
            return;
        }
        let key = self.processes[child].key;
        let ticket = self.ticket(parent, Waiting::Join(id, hello.path.clone()));
        let address = std::net::SocketAddr::from(([192, 0, 2, 7], 4433));
        self.arrive(parent, Input::Join { ticket, link: LinkId(id), key, address, protocol: 1, hello });
    }

    /// The parent has decided on a Hello.
    pub(crate) fn answer_join(&mut self, parent: Pid, id: WireId, path: NodePath, joined: Result<Position, Fault>) {
        let latency = self.latency();
        let at = self.clock.now + latency;
        if joined.is_ok() {
            self.processes[parent].absent.insert(path.clone(), None);
        }
        let Some(wire) = self.wires.get_mut(&id) else {
            // It died on both sides before the parent had decided.
            return self.arrive(parent, Input::Left { path, link: LinkId(id) });
        };
        wire.parent_sees = joined.is_ok();
        wire.welcome_at = at;
        if wire.alive {
            self.clock.after(latency, Happening::Greeted(id, joined));
        } else {
            self.clock.after(latency, Happening::ParentNotices(id));
        }
    }

    /// The decision reaches the child.
    pub(crate) fn greeted(&mut self, id: WireId, joined: Result<Position, Fault>) {
        if !self.arrives(id, || Happening::Greeted(id, joined.clone())) {
            return;
        }
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.child_sees) else { return };
        let (child, attempt) = (wire.child, wire.attempt);
        if self.processes[child].attempt != attempt {
            return;
        }
        match joined {
            Ok(seen) => {
                wire.welcomed = true;
                self.next_attempt(child);
                self.processes[child].refusals = 0;
                self.processes[child].uplink = Some(id);
                self.arrive(child, Input::Up { seen, protocol: SUPPORTED.highest });
            }
            Err(fault) => {
                self.wires.remove(&id);
                self.processes[child].refusals += 1;
                if fault.code == Code::Identity {
                    // Perhaps the machine was given another life; its token says so.
                    self.processes[child].grant = None;
                }
                self.dial_soon(child, 500, 5000);
            }
        }
    }

    /// A child tells something.
    pub(crate) fn send_report(&mut self, child: Pid, report: Report) {
        let latency = self.latency();
        let Some(id) = self.processes[child].uplink else { return };
        let twice = matches!(report, Report::Entries(_)) && self.fate.strikes(self.fate.climate.again);
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.alive) else { return };
        if twice {
            wire.reports.push_back(report.clone());
            self.clock.after(latency, Happening::Report(id));
        }
        wire.reports.push_back(report);
        self.clock.after(latency, Happening::Report(id));
    }

    pub(crate) fn report_arrives(&mut self, id: WireId) {
        if !self.arrives(id, || Happening::Report(id)) {
            return;
        }
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(report) = wire.reports.pop_front() else { return };
        if wire.parent_sees {
            let (parent, path) = (wire.parent, wire.path.clone());
            self.arrive(parent, Input::Report { path, link: LinkId(id), report });
        }
    }

    pub(crate) fn send_ack(&mut self, link: LinkId, upto: Position) {
        let latency = self.latency();
        let Some(wire) = self.wires.get_mut(&link.0).filter(|wire| wire.alive) else { return };
        wire.acks.push_back(upto);
        self.clock.after(latency, Happening::Ack(link.0));
    }

    pub(crate) fn ack_arrives(&mut self, id: WireId) {
        if !self.arrives(id, || Happening::Ack(id)) {
            return;
        }
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(upto) = wire.acks.pop_front() else { return };
        if wire.welcomed && wire.child_sees {
            let child = wire.child;
            self.arrive(child, Input::Acked(upto));
        }
    }

    /// A parent asks something.
    pub(crate) fn send_request(&mut self, link: LinkId, path: NodePath, request: Request, sent: Sent) {
        let (latency, later) = (self.latency(), self.chance.between(0, 3000));
        let again = self.fate.strikes(self.fate.climate.again);
        let Some(wire) = self.wires.get_mut(&link.0).filter(|wire| wire.parent_sees) else {
            return self.lost_request(link, path, sent);
        };
        wire.asked += 1;
        let number = wire.asked;
        wire.unanswered.insert(number, sent);
        if !wire.alive {
            return;
        }
        let wait = wire.welcome_at.saturating_sub(self.clock.now);
        if again {
            let copy = Happening::Request(link.0, None, Box::new(request.clone()));
            self.clock.after(wait + later, copy);
        }
        self.clock.after(wait + latency, Happening::Request(link.0, Some(number), Box::new(request)));
    }

    /// A request that has no link to go over is answered as lost.
    fn lost_request(&mut self, link: LinkId, path: NodePath, sent: Sent) {
        // The parent's own turn is still on; what it hears of this comes in the next one.
        if let Some(parent) = self.parent_of(&path) {
            self.arrive(parent, Input::Sent { sent, path, link, reply: None });
        }
    }

    pub(crate) fn request_arrives(&mut self, id: WireId, number: Option<u64>, request: Box<Request>) {
        if !self.arrives(id, || Happening::Request(id, number, request.clone())) {
            return;
        }
        let Some(wire) = self.wires.get(&id).filter(|wire| wire.welcomed && wire.child_sees) else { return };
        let child = wire.child;
        if self.processes[child].core.is_none() {
            return;
        }
        let waiting = match number {
            Some(number) => Waiting::Request(id, number),
            None => Waiting::Nobody,
        };
        if number.is_some() && self.fate.awake {
            self.processes[child].heard.push(*request.clone());
        }
        let ticket = self.ticket(child, waiting);
        self.arrive(child, Input::Request { ticket, request: *request });
    }

    pub(crate) fn answer_request(&mut self, id: WireId, number: u64, reply: Reply) {
        let latency = self.latency();
        if self.wires.get(&id).is_some_and(|wire| wire.alive) {
            self.clock.after(latency, Happening::Reply(id, number, Box::new(reply)));
        }
    }

    pub(crate) fn reply_arrives(&mut self, id: WireId, number: u64, reply: Box<Reply>) {
        if !self.arrives(id, || Happening::Reply(id, number, reply.clone())) {
            return;
        }
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.parent_sees) else { return };
        let (parent, path) = (wire.parent, wire.path.clone());
        if let Some(sent) = wire.unanswered.remove(&number) {
            self.arrive(parent, Input::Sent { sent, path, link: LinkId(id), reply: Some(*reply) });
        }
    }

    /// A link dies. Each side notices in its own time.
    pub(crate) fn cut(&mut self, id: WireId) {
        let lossy = self.chance.mille(500);
        let (parent_notices, child_notices) = (self.notices(), self.notices());
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.alive) else { return };
        wire.alive = false;
        wire.lossy = lossy;
        self.clock.after(parent_notices, Happening::ParentNotices(id));
        self.clock.after(child_notices, Happening::ChildNotices(id));
    }

    fn notices(&mut self) -> u64 {
        if self.chance.mille(500) { self.chance.between(1, 50) } else { self.chance.between(50, IDLE) }
    }

    /// The parent closes a link in good order; the child hears of it soon.
    pub(crate) fn close(&mut self, link: LinkId) {
        let latency = self.latency();
        let Some(wire) = self.wires.get_mut(&link.0) else { return };
        wire.alive = false;
        wire.lossy = true;
        self.clock.after(1, Happening::ParentNotices(link.0));
        self.clock.after(latency, Happening::ChildNotices(link.0));
    }

    /// A child lets go of the link that it had, as when it dials anew.
    fn drop_uplink(&mut self, pid: Pid) {
        self.processes[pid].uplink = None;
        let old: Vec<_> = self.wires.iter().filter(|(_, wire)| wire.child == pid).map(|(id, _)| *id).collect();
        for id in old {
            self.cut(id);
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.child_sees = false;
            }
        }
    }

    pub(crate) fn parent_notices(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let (parent, path, saw) = (wire.parent, wire.path.clone(), wire.parent_sees);
        let unanswered = std::mem::take(&mut wire.unanswered);
        wire.parent_sees = false;
        let forgotten = !wire.child_sees;
        if forgotten {
            self.wires.remove(&id);
        }
        if !saw || self.processes[parent].core.is_none() {
            return;
        }
        for sent in unanswered.into_values() {
            self.arrive(parent, Input::Sent { sent, path: path.clone(), link: LinkId(id), reply: None });
        }
        self.arrive(parent, Input::Left { path, link: LinkId(id) });
    }

    pub(crate) fn child_notices(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let (child, saw, welcomed) = (wire.child, wire.child_sees, wire.welcomed);
        wire.child_sees = false;
        let forgotten = !wire.parent_sees;
        if forgotten {
            self.wires.remove(&id);
        }
        if !saw || self.processes[child].uplink.is_some_and(|uplink| uplink != id) {
            return;
        }
        self.processes[child].uplink = None;
        if welcomed {
            self.arrive(child, Input::Down);
        }
        self.dial_soon(child, 20, 2000);
    }

    /// Every link of a process that has died; the other side does not know yet.
    pub(crate) fn cut_all(&mut self, pid: Pid) {
        let of_it: Vec<_> =
            self.wires.iter().filter(|(_, wire)| wire.child == pid || wire.parent == pid).map(|(id, _)| *id).collect();
        for id in of_it {
            self.cut(id);
            if let Some(wire) = self.wires.get_mut(&id) {
                if wire.child == pid {
                    wire.child_sees = false;
                } else {
                    wire.parent_sees = false;
                }
            }
        }
    }

    /// A place cannot be reached from above for a while. Short of the idle limit a link only holds things back.
    pub(crate) fn outage(&mut self, place: &NodePath, ms: u64) {
        let until = self.clock.now + ms;
        self.outages.insert(place.clone(), until);
        let over_it: Vec<_> =
            self.wires.iter().filter(|(_, wire)| wire.path == *place && wire.alive).map(|(id, _)| *id).collect();
        for id in over_it {
            if ms < IDLE {
                if let Some(wire) = self.wires.get_mut(&id) {
                    wire.held_until = until;
                }
            } else {
                self.cut(id);
            }
        }
    }

    /// Whoever is to answer to this place's token is the process at the place above it.
    fn parent_of(&self, place: &NodePath) -> Option<Pid> {
        let above = place.parent().unwrap_or_else(NodePath::coordinator);
        self.at.get(&above).copied()
    }

    /// Lets a process hear a request once more that it has heard before.
    pub(crate) fn replay(&mut self, pid: Pid) {
        let process = &self.processes[pid];
        let Some(wire) = process.uplink.filter(|_| !process.heard.is_empty()) else { return };
        let request = self.chance.pick(&process.heard).clone();
        self.clock.after(1, Happening::Request(wire, None, Box::new(request)));
    }

    /// A ticket of a process.
    pub(crate) fn ticket(&mut self, pid: Pid, waiting: Waiting) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.processes[pid].waiting.insert(ticket, waiting);
        ticket
    }
}
