//! Destroying machines: a child's agent is told and destroys what it carries, tells what is left to tell, and then its
//! machine goes. An agent that does not answer is not waited for for ever: its machine goes with everything in it.

use homestak_protocol::event::{Action, Change, Gap, Phase, PhaseStatus, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Request;

use super::up::blamed;
use super::{Child, ChildState, Cx, Goal, Op, Operator, Stage, Why, known_below};
use crate::core::record::Record;
use crate::core::step::{Sent, TimerKind, Work};

impl Operator {
    /// From here on the child is to go.
    pub(super) fn begin_down(&mut self, child: &mut Child, why: Why, cx: &mut Cx<'_>) {
        if child.state.goal == Goal::Down(why) && child.state.stage != Stage::Stuck && !child.state.stage.is_end() {
            return self.drive(child, cx);
        }
        child.state.goal = Goal::Down(why);
        child.state.settled = None;
        child.told = None;
        child.given_up_on = false;
        child.dirty = true;
        if child.state.ours && child.state.incarnation.is_some() {
            // What is rolled back still says why.
            let why = if why == Why::Rollback { cx.fault_of(&child.state.path) } else { None };
            cx.node(&child.state.path, child.state.kind, Status::Running, None, why);
            cx.phase(&child.state.path, Phase::Destroy, PhaseStatus::Running, 0, None);
        }
        child.again = false;
        if child.op == Some(Op::Ensure) {
            let why = Fault::new(Code::Cancelled, "the machine is to be destroyed");
            self.give_up(child, why, cx);
        }
        if child.op.is_none() {
            child.enter(Stage::Directing, cx.now_ms());
        }
        self.drive(child, cx);
    }

    pub(super) fn drive_down(&mut self, child: &mut Child, why: Why, cx: &mut Cx<'_>) {
        if child.op.is_some() || child.resting {
            return;
        }
        match child.state.stage {
            Stage::Stuck => {}
            Stage::Draining => self.drain(child, cx),
            Stage::Removing => self.remove(child, cx),
            Stage::Unreachable if !child.state.ours && cx.link(&child.state.path).is_none() => {}
            _ => self.direct(child, why, cx),
        }
    }

    fn direct(&mut self, child: &mut Child, why: Why, cx: &mut Cx<'_>) {
        if child.state.stage != Stage::Directing {
            child.enter(Stage::Directing, cx.now_ms());
        }
        if child.state.ours && child.state.incarnation.is_none() {
            return self.gone(child, why, cx);
        }
        if child.state.ours && (!child.state.joined || child.given_up_on) {
            return self.remove(child, cx);
        }
        if child.state.settled.is_some_and(|word| word >= Some(why.verb())) {
            if !child.state.ours {
                child.gone = true;
                return;
            }
            child.enter(Stage::Draining, cx.now_ms());
            return self.drain(child, cx);
        }
        if cx.link(&child.state.path).is_some() {
            child.heard();
            self.tell(child, why.verb(), cx);
        } else {
            let limits = self.state.policy.limits;
            self.listen(child, if child.state.ours { limits.answer } else { limits.grace }, cx);
        }
    }

    fn drain(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.drained || child.given_up_on {
            return self.remove(child, cx);
        }
        match cx.link(&child.state.path).map(|link| link.id) {
            Some(link) if child.drain_sent == Some(link) => {}
            Some(_) => {
                child.heard();
                child.drain_sent = self.send(child, Request::Drain, Sent::Drain(self.tree.clone()), cx);
            }
            None => self.listen(child, self.state.policy.limits.answer, cx),
        }
    }

    pub(super) fn remove(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.state.stage != Stage::Removing {
            if !self.place(child) {
                return;
            }
            let began = child.state.began_ms;
            child.enter(Stage::Removing, cx.now_ms());
            child.state.began_ms = began;
        }
        if child.attempts == 0 {
            self.arm(child, TimerKind::Limit, self.state.policy.limits.destroy, cx);
        }
        // Rollback is for what this run has made. A machine that it does not know to be there may be an older one.
        let rolls_back = child.state.goal == Goal::Down(Why::Rollback) && !child.state.exists;
        let only = child.state.incarnation.filter(|_| rolls_back);
        self.begin(child, Op::Remove, Work::Remove { vmid: child.state.vmid, only }, cx);
    }

    /// The machine is gone, or could not be made to go.
    pub(super) fn removed(&mut self, child: &mut Child, result: Result<(), Fault>, cx: &mut Cx<'_>) {
        let given_up = child.giving_up.take();
        let why = match child.state.goal {
            Goal::Down(why) => why,
            Goal::Up => Why::Destroy,
        };
        match result {
            Ok(()) => self.gone(child, why, cx),
            Err(fault) if fault.code == Code::Conflict && why == Why::Rollback => {
                // It was there before this run, which was never told.
                child.state.goal = Goal::Up;
                self.cancelled(child, cx);
            }
            Err(fault) if given_up.is_none() && self.rests(child, &fault, cx) => {}
            Err(fault) => self.stays(child, blamed(given_up, fault), cx),
        }
    }

    /// The machine could not be made to go.
    pub(super) fn stays(&mut self, child: &mut Child, fault: Fault, cx: &mut Cx<'_>) {
        if child.state.goal == Goal::Up {
            // It was named again while it was to go.
            child.again = false;
            child.life_over = true;
            child.enter(Stage::Waiting, cx.now_ms());
            return self.drive(child, cx);
        }
        let path = child.state.path.clone();
        let fault = Fault { code: Code::Destroy, ..fault }.at(&path);
        cx.phase(&path, Phase::Destroy, PhaseStatus::Failed, child.state.began_ms, Some(fault.message.clone()));
        child.enter(Stage::Stuck, cx.now_ms());
        cx.node(&path, child.state.kind, Status::Failed, None, Some(fault));
    }

    /// Nothing is left of the child, nor of what it carried.
    fn gone(&mut self, child: &mut Child, why: Why, cx: &mut Cx<'_>) {
        let path = child.state.path.clone();
        let status = if why == Why::Rollback { Status::RolledBack } else { Status::Destroyed };
        let existed = child.state.incarnation.is_some();
        self.bury(child, status, cx);
        if existed {
            cx.phase(&path, Phase::Destroy, PhaseStatus::Passed, child.state.began_ms, None);
        }
        cx.node(&path, child.state.kind, status, existed.then_some(Action::Destroyed), None);
        if child.state.goal == Goal::Up && child.ask.is_some() {
            // It was named again while it went.
            let state = ChildState::new(path, child.state.kind, true);
            *child = Child { ask: child.ask, dirty: true, ..Child::new(state, child.epoch + 1) };
            self.drive(child, cx);
        } else {
            child.gone = true;
        }
    }

    /// What a machine carried is gone with it: nodes, identities, and events that will never come.
    pub(super) fn bury(&self, child: &Child, status: Status, cx: &mut Cx<'_>) {
        let path = &child.state.path;
        let action = child.state.incarnation.is_some().then_some(Action::Destroyed);
        let below: Vec<_> = known_below(path, cx.scene.views)
            .filter(|view| !view.status.is_gone())
            .map(|view| (view.path.clone(), view.kind))
            .collect();
        for (path, kind) in below {
            cx.node(&path, kind, status, action, None);
        }
        if child.state.joined && !child.drained {
            for (origin, after) in cx.scene.marks.iter().filter(|(origin, _)| origin.path.is_within(path)) {
                cx.out.changes.push(Change::Gap(Gap { origin: origin.clone(), after: *after }));
            }
        }
        cx.out.records.push(Record::PeerGone(path.clone()));
        cx.out.records.push(Record::MarksGone(path.clone()));
    }
}
