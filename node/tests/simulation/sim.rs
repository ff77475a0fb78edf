//! The whole: every process, link and machine, and what happens to them next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use homestak_node::core::step::{Input, Local, Ticket};
use homestak_protocol::ids::Generation;
use homestak_protocol::message::Reply;
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use crate::chance::{Chance, Climate, Fate};
use crate::clock::{Clock, Happening};
use crate::forest::TOKEN_MARK;
use crate::planted::Planted;
use crate::process::{Pid, Process, Waiting};
use crate::promises::{Broken, Watch};
use crate::wire::{Wire, WireId};
use crate::world::World;

/// The coordinator is the first process of all.
pub(crate) const COORDINATOR: Pid = 0;

/// Everything there is.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) fate: Fate,
    pub(crate) processes: Vec<Process>,
    /// Who lives at a place now.
    pub(crate) at: BTreeMap<NodePath, Pid>,
    pub(crate) wires: BTreeMap<WireId, Wire>,
    pub(crate) wired: WireId,
    pub(crate) outages: BTreeMap<NodePath, u64>,
    pub(crate) world: World,
    pub(crate) tickets: u64,
    /// What the coordinator has answered to whoever drives the run.
    pub(crate) answers: BTreeMap<Ticket, Reply>,
    /// The nodes that each generation names.
    pub(crate) ordered: BTreeMap<(TreeId, Generation), Arc<BTreeSet<NodePath>>>,
    /// The generations that are to destroy their tree.
    pub(crate) destroying: BTreeSet<(TreeId, Generation)>,
    /// The last generation given out for each tree.
    pub(crate) generations: BTreeMap<TreeId, Generation>,
    /// Grows whenever whoever drives the coordinator has something to look at.
    pub(crate) news: u64,
    /// When they are woken next; in the past where they are not.
    pub(crate) wakes_at: u64,
    pub(crate) watch: Watch,
    /// A node whose configuration fails for good.
    pub(crate) doomed: Option<NodePath>,
    /// Where the next process that takes a turn dies.
    pub(crate) dies_at: Option<usize>,
    /// Whether it did.
    pub(crate) died: bool,
    /// How many turns there were.
    pub(crate) turns: u64,
    /// A bug put in on purpose.
    pub(crate) planted: Option<Planted>,
    /// What happened, if somebody wants to know.
    pub(crate) lines: Option<Vec<(u64, NodePath, String)>>,
}

impl Sim {
    /// A coordinator and its hosts, running and joined, with nothing built.
    pub(crate) fn new(seed: u64, hosts: &[&str], climate: Climate) -> Self {
        let mut sim = Self {
            clock: Clock::default(),
            chance: Chance::seeded(seed),
            fate: Fate::new(seed, climate),
            processes: Vec::new(),
            at: BTreeMap::new(),
            wires: BTreeMap::new(),
            wired: 0,
            outages: BTreeMap::new(),
            world: World::default(),
            tickets: 0,
            answers: BTreeMap::new(),
            ordered: BTreeMap::new(),
            destroying: BTreeSet::new(),
            generations: BTreeMap::new(),
            news: 0,
            wakes_at: 0,
            watch: Watch::default(),
            doomed: None,
            dies_at: None,
            died: false,
            turns: 0,
            planted: None,
            lines: None,
        };
        sim.found(NodePath::coordinator(), None);
        sim.power(COORDINATOR, 0);
        for host in hosts {
            let place = NodePath::parse(host).unwrap();
            let token = Secret::new(format!("{TOKEN_MARK}.{host}"));
            let pid = sim.found(place.clone(), Some(token.clone()));
            sim.clock.after(0, Happening::Expect(place, token));
            sim.clock.after(100, Happening::Power(pid, 0));
        }
        sim
    }

    /// Lets it run while `more` says so. False where there is nothing left to happen, a promise is broken, or it takes
    /// longer than `limit` milliseconds.
    pub(crate) fn run(&mut self, limit: u64, mut more: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.clock.now + limit;
        loop {
            if self.watch.broken.is_some() || self.clock.now > until {
                return false;
            }
            if !more(self) {
                return true;
            }
            if !self.tick() {
                return false;
            }
        }
    }

    /// Lets it run until nothing is left to happen.
    pub(crate) fn calm_down(&mut self, limit: u64) -> bool {
        self.fate.awake = false;
        self.run(limit, |sim| !sim.clock.is_over()) && self.watch.broken.is_none()
    }

    /// The next thing happens. False where there is nothing.
    pub(crate) fn tick(&mut self) -> bool {
        let Some(happening) = self.clock.next() else { return false };
        match happening {
            Happening::Power(pid, life) => self.power(pid, life),
            Happening::Turn(pid, life) => self.turn(pid, life),
            Happening::Dial(pid, life, attempt) => self.dial(pid, life, attempt),
            Happening::Enrol { child, life, attempt, parent } => self.enrol(child, life, attempt, parent),
            Happening::Granted { child, life, attempt, grant } => self.granted(child, life, attempt, grant),
            Happening::Knock(wire, hello) => self.knock(wire, hello),
            Happening::Greeted(wire, joined) => self.greeted(wire, joined),
            Happening::Report(wire) => self.report_arrives(wire),
            Happening::Ack(wire) => self.ack_arrives(wire),
            Happening::Request(wire, number, request) => self.request_arrives(wire, number, request),
            Happening::Reply(wire, number, reply) => self.reply_arrives(wire, number, reply),
            Happening::ParentNotices(wire) => self.parent_notices(wire),
            Happening::ChildNotices(wire) => self.child_notices(wire),
            Happening::Look(job) => self.look(job),
            Happening::Take(job) => self.take(job),
            Happening::End(job) => self.end(job),
            Happening::Quit(job) => self.quit(job),
            Happening::Made(place, id, stamp) => self.made(&place, id, stamp),
            Happening::Unmade(place, id, stamp) => self.unmade(&place, id, stamp),
            Happening::Timer(pid, life, key) => {
                if self.processes[pid].life == life {
                    self.arrive(pid, Input::Timer(*key));
                }
            }
            Happening::Storm => self.storm(),
            Happening::Expect(host, token) => self.expect(host, token),
            Happening::Wake => self.news += 1,
        }
        true
    }

    /// Asks the coordinator something.
    pub(crate) fn ask(&mut self, ask: Local) -> Ticket {
        let ticket = self.ticket(COORDINATOR, Waiting::Driver);
        self.arrive(COORDINATOR, Input::Local { ticket, ask });
        ticket
    }

    /// Sees to it that the coordinator lets a host's agent in, however often it dies meanwhile.
    fn expect(&mut self, host: NodePath, token: Secret) {
        let known = self.processes[COORDINATOR].disk.peers.get(&host).is_some_and(|peer| peer.token == token);
        if !known {
            self.ask(Local::Expect { host: host.clone(), token: token.clone(), replace: true });
            self.clock.after(300, Happening::Expect(host, token));
        }
    }

    /// From here on things go wrong.
    pub(crate) fn wake_fate(&mut self) {
        self.fate.awake = true;
        if let Some(every) = self.fate.climate.storm_every {
            let pause = self.chance.between(0, every * 2);
            self.clock.after(pause, Happening::Storm);
        }
    }

    /// A stroke of bad weather, and the next one after it.
    fn storm(&mut self) {
        let climate = self.fate.climate;
        let Some(every) = climate.storm_every.filter(|_| self.fate.awake) else { return };
        let pause = self.chance.between(1, every * 2);
        self.clock.after(pause, Happening::Storm);
        let places: Vec<_> = self.at.keys().cloned().collect();
        let place = self.chance.pick(&places).clone();
        let mut kind = self.chance.below(1000);
        if !self.fate.strikes_now() {
            return;
        }
        let mut is = |odds: u64| {
            let hit = kind < odds;
            kind = kind.saturating_sub(odds);
            hit && odds > 0
        };
        let pid = self.at[&place];
        if is(climate.power) {
            if self.processes[pid].on {
                self.crash(pid);
            }
        } else if is(climate.cut) {
            let over: Vec<_> = self.wires.keys().copied().collect();
            if !over.is_empty() {
                let wire = *self.chance.pick(&over);
                self.trace(pid, || format!("link {wire} is cut"));
                self.cut(wire);
            }
        } else if is(climate.outage) {
            let ms = self.chance.between(500, 25_000);
            self.trace(pid, || format!("cannot be reached for {ms} ms"));
            self.outage(&place, ms);
        } else if is(climate.long_outage) {
            let ms = self.chance.between(20_000, 150_000);
            self.trace(pid, || format!("cannot be reached for {ms} ms"));
            self.outage(&place, ms);
        } else if is(climate.theft) {
            if place.depth() > 0 {
                self.trace(pid, || "is removed by hand".to_owned());
                self.watch.stolen.insert(place.clone());
                self.erase(&place);
            }
        } else if is(climate.amnesia) {
            self.forget_host(&place);
        } else {
            self.replay(pid);
        }
    }

    /// The agent of the place's host loses all that it had, and is expected anew.
    fn forget_host(&mut self, place: &NodePath) {
        let Ok(host) = NodePath::parse(place.host()) else { return };
        let Some(&pid) = self.at.get(&host).filter(|_| !host.is_coordinator()) else { return };
        self.trace(pid, || "loses its memory".to_owned());
        self.processes[pid].dead = true;
        self.kill(pid);
        let token = Secret::new(format!("{TOKEN_MARK}.{host}.{}", self.clock.now));
        let successor = self.found(host.clone(), Some(token.clone()));
        self.watch.forgotten.insert(host.clone());
        self.clock.after(0, Happening::Expect(host, token));
        self.clock.after(500, Happening::Power(successor, 0));
    }

    /// Notes what happens, if somebody wants to know.
    pub(crate) fn trace(&mut self, pid: Pid, text: impl FnOnce() -> String) {
        if let Some(lines) = self.lines.as_mut() {
            lines.push((self.clock.now, self.processes[pid].place.clone(), text()));
        }
    }

    /// A promise is broken. The first one counts.
    pub(crate) fn broken(&mut self, promise: &'static str, pid: Pid, what: String) {
        let place = self.processes[pid].place.clone();
        self.trace(pid, || format!("BROKEN: {promise}: {what}"));
        self.watch.broken.get_or_insert(Broken { promise, place, what });
    }
}
