//! The promises that hold at every moment, each checked when a record reaches a disk or an effect reaches the world. Those
//! about a run's end are in [`crate::verdict`].

use std::collections::{BTreeMap, BTreeSet};

use homestak_node::core::record::{Record, TreeState};
use homestak_node::core::step::{Who, Work};
use homestak_node::operator::{Goal, Stage, Why};
use homestak_protocol::event::{Change, Entry, Event, Origin, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, Seq};
use homestak_protocol::order::Verb;
use homestak_protocol::path::{NodePath, TreeId};

use crate::forest::TOKEN_MARK;
use crate::process::Pid;
use crate::sim::{COORDINATOR, Sim};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    /// Where.
    pub(crate) place: NodePath,
    pub(crate) what: String,
}

/// What the root has heard of each origin: the last number, and whether it was said that something is missing after it.
pub(crate) type Heard = BTreeMap<Origin, (Seq, bool)>;

/// How a child and its tree stood before a turn.
#[derive(Debug, Clone, Copy)]
struct Before {
    generation: Generation,
    word: Option<Verb>,
    stage: Option<Stage>,
}

/// What the promises are checked against.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) broken: Option<Broken>,
    pub(crate) heard: Heard,
    before: BTreeMap<NodePath, Before>,
    /// The coordinator has been restored, and does not know how much it has read before.
    pub(crate) restored: bool,
    /// Machines that somebody removed by hand.
    pub(crate) stolen: BTreeSet<NodePath>,
    /// Hosts that have lost their memory.
    pub(crate) forgotten: BTreeSet<NodePath>,
    /// Generations in which a node was unreachable for a while, or failed: late events may have corrected that since.
    pub(crate) troubled: BTreeSet<(TreeId, Generation)>,
}

impl Sim {
    /// Notes how things stand for what a turn is about to begin.
    pub(crate) fn watch_before<'a>(&mut self, pid: Pid, works: impl Iterator<Item = (&'a TreeId, &'a Who)>) {
        self.watch.before.clear();
        for (tree, who) in works {
            let process = &self.processes[pid];
            let Some(image) = process.disk.trees.get(tree) else { continue };
            let Some(state) = &image.state else { continue };
            let (place, stage) = match who {
                Who::Own => (process.place.clone(), None),
                Who::Child(path) => (path.clone(), image.children.get(path).map(|child| child.stage)),
            };
            self.watch.before.insert(place, Before { generation: state.generation, word: state.word, stage });
        }
    }

    /// A record is about to reach a disk.
    pub(crate) fn watch_record(&mut self, pid: Pid, record: &Record) {
        let process = &self.processes[pid];
        match record {
            Record::Tree(tree, state) => {
                let before = process.disk.trees.get(tree).and_then(|image| image.state.as_ref());
                if before.is_some_and(|before| before.generation > state.generation) {
                    self.broken("an older generation never wins", pid, format!("{tree} {}", state.generation));
                }
            }
            Record::Order(_, order) if pid != COORDINATOR => match order.open() {
                Ok(order) if order.path == process.place => {}
                other => self.broken("an agent holds no order but its own", pid, format!("{other:?}")),
            },
            Record::Entry(entry) => {
                if entry.position != process.disk.last_position.next() {
                    let what = format!("{} after {}", entry.position, process.disk.last_position);
                    self.broken("positions of a journal are contiguous", pid, what);
                }
                self.watch_silence(pid, entry);
                if pid == COORDINATOR {
                    self.watch_event(&entry.event);
                }
            }
            _ => {}
        }
    }

    /// Nobody is called unreachable before the grace has passed in silence, nor failed to boot before its limit.
    fn watch_silence(&mut self, pid: Pid, entry: &Entry) {
        let process = &self.processes[pid];
        let Change::Node(change) = &entry.event.change else { return };
        if entry.event.origin.path != process.place {
            return;
        }
        let Some(fault) = &change.fault else { return };
        let known = process.disk.trees.get(&entry.event.scope.tree).and_then(|image| image.views.get(&change.path));
        if known.is_some_and(|view| view.fault == change.fault) {
            // It was said before, and is said again to somebody who has lost it.
            return;
        }
        let Some(child) = process.place.step_towards(&change.path) else { return };
        let Some(state) = self.state(pid, &entry.event.scope.tree) else { return };
        let limit = match fault.code {
            Code::Unreachable if fault.message.contains("has not been heard of") => state.policy.limits.grace,
            Code::Boot => state.policy.limits.boot,
            _ => return,
        };
        let since = match process.absent.get(&child) {
            None => process.started,
            Some(Some(since)) => *since,
            Some(None) => self.clock.now,
        };
        if self.clock.now - since < limit.0 {
            let what = format!("{child} has been silent for {} ms of {}", self.clock.now - since, limit.0);
            self.broken("nobody is given up on before the time is up", pid, what);
        }
    }

    /// An event has reached the root's disk.
    fn watch_event(&mut self, event: &Event) {
        let heard = self.watch.heard.entry(event.origin.clone()).or_default();
        let (last, gap) = std::mem::replace(heard, (event.seq, false));
        if event.seq <= last {
            let what = format!("{} of {} after {last}", event.seq, event.origin);
            self.broken("no event is told twice", COORDINATOR, what);
        } else if event.seq != last.next() && !(gap && self.has_lost_journals()) {
            let what = format!("{} of {} after {last}", event.seq, event.origin);
            self.broken("events of an origin are contiguous or the gap is told", COORDINATOR, what);
        }
        if let Change::Gap(gap) = &event.change {
            self.watch.heard.entry(gap.origin.clone()).or_default().1 = true;
        }
        if matches!(&event.change, Change::Node(node) if is_wrong(node.status)) {
            self.watch.troubled.insert((event.scope.tree.clone(), event.scope.generation));
        }
        let texts = match &event.change {
            Change::Node(node) => {
                node.fault.iter().flat_map(|f| [Some(&f.message), f.hint.as_ref()]).flatten().collect()
            }
            Change::Phase(phase) => phase.note.iter().collect(),
            Change::Drift(drift) => drift.lines.iter().collect(),
            Change::Settled(_) | Change::Gap(_) => Vec::new(),
        };
        if let Some(text) = texts.into_iter().find(|text| text.contains(TOKEN_MARK)) {
            let text = text.clone();
            self.broken("no secret is in an event", COORDINATOR, text);
        }
    }

    /// Whether a journal was lost by our doing: nothing else explains events that are missing in the middle.
    fn has_lost_journals(&self) -> bool {
        self.watch.restored || !self.watch.forgotten.is_empty()
    }

    /// A tree as a process has it on disk.
    pub(crate) fn state(&self, pid: Pid, tree: &TreeId) -> Option<&TreeState> {
        self.processes[pid].disk.trees.get(tree)?.state.as_ref()
    }

    /// Work is about to begin.
    pub(crate) fn watch_work(
        &mut self,
        pid: Pid,
        tree: &TreeId,
        place: &NodePath,
        generation: Generation,
        work: &Work,
    ) {
        let before = self.watch.before.get(place).copied().filter(|before| before.generation == generation);
        let word = before.and_then(|before| before.word);
        let name = work.name();
        if let Some(word) = word {
            let in_flight = before.and_then(|before| before.stage) == Some(Stage::Provisioning);
            let allowed = match work {
                Work::Remove { .. } => true,
                Work::Ensure { .. } => word == Verb::Halt && in_flight,
                _ => word == Verb::Halt,
            };
            if !allowed {
                self.broken(
                    "nothing new begins after the word has come",
                    pid,
                    format!("{name} {place} after {word:?}"),
                );
            }
        }
        match work {
            Work::Ensure { .. } => self.watch_ensure(pid, tree, place, generation),
            Work::Remove { only, .. } => {
                let other =
                    only.is_some_and(|life| self.world.machine(place).is_some() && !self.world.began_with(place, life));
                if !other {
                    self.watch_remove(pid, tree, place, before.and_then(|before| before.stage));
                }
            }
            _ => {}
        }
    }

    fn watch_ensure(&mut self, pid: Pid, tree: &TreeId, place: &NodePath, generation: Generation) {
        let named = self.ordered.get(&(tree.clone(), generation)).is_some_and(|named| named.contains(place));
        if !named {
            self.broken("no machine is made without an order", pid, format!("{place} in generation {generation}"));
        }
        let parent = &self.processes[pid].place;
        let ready = parent.is_host() || self.world.machine(parent).is_some_and(|machine| machine.is_host);
        if !ready {
            self.broken("a parent is a host before its children are made", pid, place.to_string());
        }
    }

    fn watch_remove(&mut self, pid: Pid, tree: &TreeId, place: &NodePath, before: Option<Stage>) {
        let process = &self.processes[pid];
        let Some(image) = process.disk.trees.get(tree) else { return };
        let (Some(state), Some(child)) = (&image.state, image.children.get(place)) else { return };
        let Goal::Down(why) = child.goal else { return };
        let named = self.ordered.get(&(tree.clone(), state.generation)).is_some_and(|named| named.contains(place));
        let machine = self.world.machine(place);
        let allowed = match why {
            Why::Destroy if process.place.is_host() => self.destroying.contains(&(tree.clone(), state.generation)),
            Why::Destroy => state.word == Some(Verb::Destroy),
            Why::Prune => !named,
            Why::Rollback => {
                machine.is_none_or(|machine| machine.reported_in.is_none_or(|made| made == state.generation))
            }
        };
        if !allowed {
            let what = format!("{place} goes for {why:?} in generation {}: {machine:?}", state.generation);
            return self.broken("no machine goes that is to stay", pid, what);
        }
        let answers = matches!(process.absent.get(place), Some(None))
            && self.at.get(place).is_some_and(|&child| self.processes[child].uplink.is_some());
        let stuck = |inner: &&NodePath| {
            let injured = self.world.injured.iter().filter(|(_, what)| what.contains(&"remove"));
            injured.into_iter().any(|(at, _)| inner.is_within(at) && at != place && at.is_within(place))
        };
        if before == Some(Stage::Removing) || !answers || self.watch.is_disturbed(place) {
            return;
        }
        let orphan = self.world.inside(place).find(|inner| !stuck(inner)).cloned();
        if let Some(orphan) = orphan {
            self.broken("children go before a parent that answers", pid, format!("{orphan} is still inside {place}"));
        }
    }

    /// A link is being closed.
    pub(crate) fn watch_close(&mut self, pid: Pid, path: &NodePath, why: &Fault) {
        if why.code == Code::Protocol || why.message.contains("not its to tell") {
            self.broken("no honest child is taken for a liar", pid, format!("{path}: {why}"));
        }
    }
}

impl Watch {
    /// Whether somebody has interfered by hand at or around a place.
    pub(crate) fn is_disturbed(&self, place: &NodePath) -> bool {
        self.forgotten.iter().any(|host| place.is_within(host))
            || self.stolen.iter().any(|stolen| stolen.is_within(place) || place.is_within(stolen))
    }
}

/// Whether a status says that something went wrong at the node itself.
pub(crate) fn is_wrong(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Unreachable)
}
