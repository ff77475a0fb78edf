//! Making machines: a child goes waiting → provisioning → booting → forwarding → delegated, and can fail on the way.

use homestak_protocol::event::{Action, NodeView, Phase, PhaseStatus, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::{Reply, Request};
use homestak_protocol::order::{Millis, Verb};

use super::{Child, Cx, Goal, Op, Operator, Stage, known_below, shown};
use crate::core::record::{PeerState, Record};
use crate::core::step::{Sent, TimerKind, Work, Worked};
use crate::link::LinkId;
use crate::world::Found;

impl Operator {
    pub(super) fn drive_up(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.op.is_some() || child.resting {
            return;
        }
        match child.state.stage {
            Stage::Waiting => self.begin_up(child, cx),
            Stage::Provisioning => self.ensure(child, cx),
            Stage::Booting => self.await_joining(child, cx),
            Stage::Forwarding => self.forward(child, cx),
            Stage::Delegated => self.keep_up(child, cx),
            // Late, but there: what it tells corrects the record.
            Stage::Unreachable if cx.link(&child.state.path).is_some() => {
                child.enter(Stage::Forwarding, cx.now_ms());
                self.forward(child, cx);
            }
            _ => {}
        }
    }

    fn begin_up(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if !self.may_begin() {
            return;
        }
        if !child.state.ours {
            child.enter(Stage::Booting, cx.now_ms());
            return self.await_joining(child, cx);
        }
        if !self.place(child) {
            return;
        }
        child.enter(Stage::Provisioning, cx.now_ms());
        cx.node(&child.state.path, child.state.kind, Status::Running, Some(Action::None), None);
        cx.phase(&child.state.path, Phase::Provision, PhaseStatus::Running, 0, None);
        self.ensure(child, cx);
    }

    fn ensure(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let Some(make) = self.ask(child).and_then(|ask| ask.make.clone()) else {
            // A machine that no order names any more is left as it is.
            return child.enter(Stage::Orphaned, cx.now_ms());
        };
        let incarnation = match child.state.incarnation {
            Some(incarnation) => incarnation,
            None => {
                let incarnation = Incarnation::from_bits(cx.draw());
                child.state.incarnation = Some(incarnation);
                child.state.made_in = Some(self.state.generation);
                child.state.exists = false;
                child.state.joined = false;
                child.dirty = true;
                incarnation
            }
        };
        let path = &child.state.path;
        let known =
            cx.scene.peers.get(path).filter(|peer| peer.incarnation == incarnation).map(|peer| peer.token.clone());
        let token = known.unwrap_or_else(|| {
            // A new life is bound to the token that is put into it, and to no key yet.
            let token = make.token;
            let peer = PeerState { path: path.clone(), incarnation, token: token.clone(), key: None, revoked: false };
            cx.out.records.push(Record::Peer(peer));
            token
        });
        let work = Work::Ensure {
            run: self.state.run,
            incarnation,
            machine: Box::new(make.machine),
            cloud_init: Box::new(make.cloud_init),
            token,
        };
        if child.attempts == 0 {
            self.arm(child, TimerKind::Limit, self.state.policy.limits.provision, cx);
        }
        self.begin(child, Op::Ensure, work, cx);
    }

    /// The machine was made or found, or it was not.
    pub(super) fn ensured(&mut self, child: &mut Child, result: Result<Worked, Fault>, cx: &mut Cx<'_>) {
        let given_up = child.giving_up.take();
        let made = match result {
            Ok(Worked::Ensured(made)) => made,
            Ok(_) => return,
            Err(fault) => {
                if std::mem::take(&mut child.again) && child.state.goal == Goal::Up {
                    child.enter(Stage::Waiting, cx.now_ms());
                }
                if child.state.goal != Goal::Up || child.state.stage == Stage::Waiting {
                    return self.drive(child, cx);
                }
                let cancelled = self.state.word >= Some(Verb::Cancel);
                return match given_up {
                    Some(_) if cancelled => self.cancelled(child, Phase::Provision, cx),
                    Some(why) => self.fail(child, Phase::Provision, why, cx),
                    None if cancelled => self.cancelled(child, Phase::Provision, cx),
                    None if self.rests(child, &fault, cx) => {}
                    None => self.fail(child, Phase::Provision, fault, cx),
                };
            }
        };
        let action = match made.found {
            Found::Created => Action::Created,
            // Made by this run, which then forgot that it had: it crashed before it was told.
            Found::Unchanged if !child.state.exists && child.state.made_in == Some(self.state.generation) => {
                Action::Created
            }
            Found::Unchanged => Action::Unchanged,
            Found::Updated => Action::Updated,
            Found::Adopted => Action::Adopted,
        };
        if made.found == Found::Adopted {
            child.state.made_in = None;
            child.state.joined = false;
        }
        child.state.exists = true;
        child.state.vmid = made.vmid.or(child.state.vmid);
        child.state.ip = made.ip.or(child.state.ip);
        child.dirty = true;
        if std::mem::take(&mut child.again) && child.state.goal == Goal::Up {
            child.enter(Stage::Waiting, cx.now_ms());
            return self.drive(child, cx);
        }
        self.node_made(child, Status::Running, action, cx);
        cx.phase(&child.state.path, Phase::Provision, PhaseStatus::Passed, child.state.began_ms, None);
        if child.state.goal != Goal::Up {
            return self.drive(child, cx);
        }
        if self.state.word == Some(Verb::Cancel) {
            return self.cancelled(child, Phase::Boot, cx);
        }
        child.enter(Stage::Booting, cx.now_ms());
        child.enrolling = false;
        cx.phase(&child.state.path, Phase::Boot, PhaseStatus::Running, 0, None);
        self.await_joining(child, cx);
    }

    fn await_joining(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let Some(ip) = cx.link(&child.state.path).map(|link| link.ip) else {
            let limits = self.state.policy.limits;
            if !child.state.ours {
                self.listen(child, limits.grace, cx);
            } else if !child.silent {
                child.silent = true;
                self.arm(child, TimerKind::Limit, limits.boot, cx);
            }
            return;
        };
        if child.state.ours {
            if !child.enrolling {
                cx.phase(&child.state.path, Phase::Boot, PhaseStatus::Passed, child.state.began_ms, None);
                cx.phase(&child.state.path, Phase::Enrol, PhaseStatus::Running, 0, None);
            }
            if child.state.ip.is_none() && ip.is_some() {
                child.state.ip = ip;
                let action = cx.scene.views.get(&child.state.path).map_or(Action::None, |view| view.action);
                self.node_made(child, Status::Running, action, cx);
            }
        }
        child.enter(Stage::Forwarding, cx.now_ms());
        self.forward(child, cx);
    }

    /// Hands the child its order, unless it has it already.
    fn forward(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let Some(link) = cx.link(&child.state.path) else {
            return self.listen(child, self.state.policy.limits.grace, cx);
        };
        let held = link.generations.get(&self.tree).copied();
        if held == Some(self.state.generation) {
            return self.delegated(child, cx);
        }
        if held > Some(self.state.generation) {
            let fault =
                Fault::new(Code::Behind, format!("{} has seen a newer generation than this one", child.state.path))
                    .hint("adopt what it has first: homestak-coord server adopt -H HOST");
            return self.fail(child, Phase::Enrol, fault, cx);
        }
        if child.sent == Some(link.id) {
            return;
        }
        let Some(order) = self.ask(child).map(|ask| ask.order.clone()) else { return };
        let word = self.state.word;
        let sent = Sent::Order(self.tree.clone(), self.state.generation);
        child.sent = self.send(child, Request::Order { order, word }, sent, cx);
        child.told = child.sent.zip(word);
    }

    pub(super) fn order_answered(&mut self, child: &mut Child, link: LinkId, reply: Reply, cx: &mut Cx<'_>) {
        if child.state.stage != Stage::Forwarding || child.state.goal != Goal::Up || child.sent != Some(link) {
            return;
        }
        match reply {
            Reply::Refused(fault) if fault.retryable && self.rests(child, &fault, cx) => child.sent = None,
            Reply::Refused(fault) => self.fail(child, Phase::Enrol, fault, cx),
            Reply::Done | Reply::Surveyed(_) => self.delegated(child, cx),
        }
    }

    /// A child that tells something of this generation has its order, whether its answer has come or not.
    pub(super) fn heard_from(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.state.goal == Goal::Up && child.state.stage == Stage::Forwarding {
            self.delegated(child, cx);
        }
    }

    fn delegated(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let passed = |view: &NodeView| {
            let enrol = view.phases.iter().find(|phase| phase.phase == Phase::Enrol);
            view.generation == self.state.generation && enrol.is_some_and(|enrol| enrol.status == PhaseStatus::Passed)
        };
        // Not once more for one that was unreachable and is back.
        if child.state.ours && !cx.scene.views.get(&child.state.path).is_some_and(passed) {
            cx.phase(&child.state.path, Phase::Enrol, PhaseStatus::Passed, child.state.began_ms, None);
        }
        child.enter(Stage::Delegated, cx.now_ms());
        self.keep_up(child, cx);
    }

    fn keep_up(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.state.has_settled(self.state.word) {
            return;
        }
        if cx.link(&child.state.path).is_none() {
            return self.listen(child, self.state.policy.limits.grace, cx);
        }
        child.silent = false;
        if let Some(word) = self.state.word {
            self.tell(child, word, cx);
        }
    }

    /// Its phase has taken too long.
    pub(super) fn out_of_time(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let limits = self.state.policy.limits;
        match child.state.stage {
            Stage::Provisioning => {
                let fault = timeout("the machine was not ready", limits.provision).at(&child.state.path);
                if child.op.is_some() {
                    self.give_up(child, fault, cx);
                } else {
                    self.fail(child, Phase::Provision, fault, cx);
                }
            }
            Stage::Booting if child.state.goal == Goal::Up => {
                let phase = if child.enrolling { Phase::Enrol } else { Phase::Boot };
                let fault = Fault::new(
                    Code::Boot,
                    format!(
                        "the machine runs ({}), but its agent did not join within {} s",
                        shown(child.state.vmid),
                        limits.boot.0 / 1000
                    ),
                )
                .hint("look at the machine's console; is the agent in its image, and can it reach its host's UDP port?")
                .at(&child.state.path);
                self.fail(child, phase, fault, cx);
            }
            _ => {}
        }
    }

    /// Its agent has not been heard of for too long.
    pub(super) fn out_of_hearing(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        child.silent = false;
        if cx.link(&child.state.path).is_some() {
            return self.drive(child, cx);
        }
        if let (Goal::Down(_), true) = (child.state.goal, child.state.ours) {
            child.given_up_on = true;
            return self.drive(child, cx);
        }
        if child.state.stage.is_end() || (child.state.goal == Goal::Up && child.state.has_settled(self.state.word)) {
            return;
        }
        let grace = self.state.policy.limits.grace;
        child.enter(Stage::Unreachable, cx.now_ms());
        let fault = Fault::new(
            Code::Unreachable,
            format!("the agent of {} has not been heard of for {} s", child.state.path, grace.0 / 1000),
        )
        .hint("what it was ordered goes on without us; `status` shows it as soon as it is back")
        .at(&child.state.path);
        let mut below: Vec<_> = known_below(&child.state.path, cx.scene.views)
            .filter(|view| !view.status.is_final() && view.generation == self.state.generation)
            .map(|view| (view.path.clone(), view.kind))
            .collect();
        below.reverse();
        if child.state.ours {
            let settled = cx.scene.views.get(&child.state.path).is_some_and(|view| view.status.is_final());
            if !settled {
                cx.node(&child.state.path, child.state.kind, Status::Unreachable, None, Some(fault.clone()));
            }
        }
        for (path, kind) in below {
            cx.node(&path, kind, Status::Unreachable, None, Some(fault.clone()));
        }
        self.raise_halt(cx);
    }

    /// The child failed on this level.
    pub(super) fn fail(&mut self, child: &mut Child, phase: Phase, fault: Fault, cx: &mut Cx<'_>) {
        let path = child.state.path.clone();
        let fault = if fault.node.is_none() { fault.at(&path) } else { fault };
        cx.phase(&path, phase, PhaseStatus::Failed, child.state.began_ms, Some(fault.message.clone()));
        child.enter(Stage::Failed, cx.now_ms());
        cx.node(&path, child.state.kind, Status::Failed, None, Some(fault));
        self.raise_with(child, cx);
    }

    pub(super) fn cancelled(&mut self, child: &mut Child, phase: Phase, cx: &mut Cx<'_>) {
        if matches!(child.state.stage, Stage::Provisioning | Stage::Booting) {
            let note = Some("cancelled".to_owned());
            cx.phase(&child.state.path, phase, PhaseStatus::Skipped, child.state.began_ms, note);
        }
        child.enter(Stage::Cancelled, cx.now_ms());
        cx.node(&child.state.path, child.state.kind, Status::Cancelled, None, None);
    }
}

pub(super) fn timeout(what: &str, limit: Millis) -> Fault {
    Fault::new(Code::Timeout, format!("{what} within {} s", limit.0 / 1000))
}
