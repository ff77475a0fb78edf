//! Virtual time: what happens, and when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use homestak_node::core::step::TimerKey;
use homestak_node::link::Grant;
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::Position;
use homestak_protocol::message::{Hello, Reply, Request};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;

use crate::process::Pid;
use crate::wire::WireId;
use crate::world::{JobId, MachineId};

/// Something that happens at a moment. What belongs to one life of a process names it, and is void in another.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A process gets power.
    Power(Pid, u32),
    /// A process works through what has arrived.
    Turn(Pid, u32),
    /// A process dials its parent; the last number says which attempt it is.
    Dial(Pid, u32, u32),
    /// A token is shown to the parent.
    Enrol { child: Pid, life: u32, attempt: u32, parent: Pid },
    /// The answer to it.
    Granted { child: Pid, life: u32, attempt: u32, grant: Result<Grant, Fault> },
    /// Hello reaches the parent.
    Knock(WireId, Box<Hello>),
    /// Welcome, or a refusal, reaches the child.
    Greeted(WireId, Result<Position, Fault>),
    /// The next report reaches the parent.
    Report(WireId),
    /// The next acknowledgement reaches the child.
    Ack(WireId),
    /// A request reaches the child. One that nobody waits for has no number.
    Request(WireId, Option<u64>, Box<Request>),
    /// Its answer reaches the parent.
    Reply(WireId, u64, Box<Reply>),
    /// A parent notices that a link is dead.
    ParentNotices(WireId),
    /// A child does.
    ChildNotices(WireId),
    /// A provider looks what there is.
    Look(JobId),
    /// It acts.
    Take(JobId),
    /// It is done.
    End(JobId),
    /// It has given up.
    Quit(JobId),
    /// A machine is there; the number is the stamp of its making.
    Made(NodePath, MachineId, u32),
    /// A machine is gone.
    Unmade(NodePath, MachineId, u32),
    /// A timer runs out.
    Timer(Pid, u32, Box<TimerKey>),
    /// Bad weather strikes.
    Storm,
    /// The coordinator is told to let a host's agent in.
    Expect(NodePath, Secret),
    /// Whoever drives the run looks again.
    Wake,
}

/// What is to happen, in order of time and then of being called for.
#[derive(Clone, Default)]
pub(crate) struct Clock {
    pub(crate) now: u64,
    counted: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, Happening>,
}

impl Clock {
    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.counted += 1;
        self.due.push(Reverse((self.now + ms, self.counted)));
        self.what.insert(self.counted, happening);
    }

    /// Goes on to what happens next.
    pub(crate) fn next(&mut self) -> Option<Happening> {
        let Reverse((at, number)) = self.due.pop()?;
        self.now = self.now.max(at);
        self.what.remove(&number)
    }

    /// What happens next.
    pub(crate) fn peek(&self) -> Option<&Happening> {
        let Reverse((_, number)) = self.due.peek()?;
        self.what.get(number)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.due.is_empty()
    }
}
