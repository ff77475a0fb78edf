//! This machine itself: it becomes a host, applies its spec, checks itself; then its children's turn comes.

use homestak_protocol::event::{Action, Phase, PhaseStatus, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::{Configuration, Millis, NodeKind, Verb};

use super::up::timeout;
use super::{Cx, Operator, OwnStage, OwnState, Stage, pause};
use crate::core::step::{Effect, TimerKey, TimerKind, Who, Work, Worked};

/// What is not remembered of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Work is in flight.
    working: bool,
    /// Its result is no longer wanted; none as a reason where a newer order has come.
    giving_up: Option<Option<Fault>>,
    attempts: u8,
    resting: bool,
    epoch: u64,
}

impl Operator {
    pub(super) fn own_is_closed(&self) -> bool {
        !self.own.working && self.state.own.as_ref().is_none_or(|own| own.stage.is_end())
    }

    /// A new order: begin from the start.
    pub(super) fn begin_own(&mut self, cx: &mut Cx<'_>) {
        if self.own.working {
            if self.own.giving_up.is_none() {
                cx.out.effects.push(Effect::CancelWork { tree: self.tree.clone(), who: Who::Own });
            }
            self.own.giving_up = Some(None);
        }
        self.own.epoch += 1;
        self.own.resting = false;
        self.own.attempts = 0;
        let Some(own) = self.own_ask.as_ref() else {
            self.state.own = None;
            return;
        };
        let kind = own.machine.kind;
        self.state.own =
            Some(OwnState { stage: OwnStage::Hosting, changed: false, began_ms: cx.now_ms(), forwarding_ms: None });
        cx.node(cx.scene.me, kind, Status::Running, None, None);
        if kind == NodeKind::Pve {
            cx.phase(cx.scene.me, Phase::Host, PhaseStatus::Running, 0, None);
        } else {
            self.next_own(cx);
        }
        self.drive_own(cx);
    }

    fn kind(&self) -> NodeKind {
        self.own_ask.as_ref().map_or(NodeKind::Vm, |own| own.machine.kind)
    }

    /// Begins the work of the current stage.
    pub(super) fn drive_own(&mut self, cx: &mut Cx<'_>) {
        let Some(stage) = self.state.own.as_ref().map(|own| own.stage) else { return };
        if self.own.working || self.own.resting || stage.is_end() {
            return;
        }
        if self.state.word >= Some(Verb::Cancel) {
            return self.own_cancelled(cx);
        }
        let Some(own) = self.own_ask.clone() else { return };
        let limits = self.state.policy.limits;
        let (work, limit) = match stage {
            OwnStage::Hosting => (Work::BecomeHost(Box::new(own)), limits.host),
            OwnStage::Configuring => (Work::Configure(Box::new(own.configuration)), limits.configure),
            OwnStage::Verifying => (Work::Verify(Box::new(own)), limits.verify),
            OwnStage::Ready | OwnStage::Failed | OwnStage::Cancelled => return,
        };
        if self.own.attempts == 0 {
            self.arm_own(TimerKind::Limit, limit, cx);
        }
        self.own.working = true;
        let (scope, generation) = (self.state.run, self.state.generation);
        cx.out.effects.push(Effect::Work { tree: self.tree.clone(), who: Who::Own, scope, generation, work });
    }

    pub(super) fn own_worked(&mut self, result: Result<Worked, Fault>, cx: &mut Cx<'_>) {
        if !std::mem::take(&mut self.own.working) {
            return;
        }
        let given_up = self.own.giving_up.take();
        if let Some(None) = given_up {
            return self.drive_own(cx);
        }
        let Some((stage, began)) = self.state.own.as_ref().map(|own| (own.stage, own.began_ms)) else { return };
        match result {
            Ok(worked) => {
                if let (Worked::Configured(done), Some(own)) = (worked, self.state.own.as_mut()) {
                    own.changed |= done.changed;
                }
                cx.phase(cx.scene.me, phase_of(stage), PhaseStatus::Passed, began, None);
                self.next_own(cx);
                self.drive_own(cx);
                self.drive_waiting(cx);
            }
            Err(_) if self.state.word >= Some(Verb::Cancel) => self.own_cancelled(cx),
            Err(fault) => {
                let fault = given_up.flatten().unwrap_or(fault);
                self.own.attempts = self.own.attempts.saturating_add(1);
                if fault.retryable
                    && fault.code != Code::Timeout
                    && self.own.attempts < self.state.policy.attempts.max(1)
                {
                    self.own.resting = true;
                    let after = pause(self.own.attempts, cx.draw());
                    self.arm_own(TimerKind::Retry, after, cx);
                } else {
                    self.own_failed(fault, cx);
                }
            }
        }
    }

    /// Goes to the next stage that there is something to do in.
    fn next_own(&mut self, cx: &mut Cx<'_>) {
        let Some(asked) = self.own_ask.as_ref() else { return };
        let configures = asked.configuration != Configuration::Nothing;
        let (kind, verifies) = (asked.machine.kind, self.state.policy.verify);
        let carries = !self.asks.is_empty();
        let Some(own) = self.state.own.as_mut() else { return };
        let next = match own.stage {
            OwnStage::Hosting if configures => OwnStage::Configuring,
            OwnStage::Hosting | OwnStage::Configuring if verifies => OwnStage::Verifying,
            _ => OwnStage::Ready,
        };
        let skipped = own.stage == OwnStage::Hosting && !configures;
        own.stage = next;
        own.began_ms = cx.now_ms();
        let changed = own.changed;
        self.own.epoch += 1;
        self.own.attempts = 0;
        self.dirty = true;
        if skipped {
            let note = Some("there is nothing to configure".to_owned());
            cx.phase(cx.scene.me, Phase::Configure, PhaseStatus::Skipped, cx.now_ms(), note);
        }
        if next != OwnStage::Ready {
            return cx.phase(cx.scene.me, phase_of(next), PhaseStatus::Running, 0, None);
        }
        cx.node(cx.scene.me, kind, Status::Completed, changed.then_some(Action::Updated), None);
        if carries && self.state.word.is_none() {
            if let Some(own) = self.state.own.as_mut() {
                own.forwarding_ms = Some(cx.now_ms());
            }
            cx.phase(cx.scene.me, Phase::Forward, PhaseStatus::Running, 0, None);
        }
    }

    fn own_failed(&mut self, fault: Fault, cx: &mut Cx<'_>) {
        let (kind, fault) = (self.kind(), if fault.node.is_none() { fault.at(cx.scene.me) } else { fault });
        let Some(own) = self.state.own.as_mut() else { return };
        let (stage, began) = (own.stage, own.began_ms);
        own.stage = OwnStage::Failed;
        self.own.epoch += 1;
        self.dirty = true;
        cx.phase(cx.scene.me, phase_of(stage), PhaseStatus::Failed, began, Some(fault.message.clone()));
        cx.node(cx.scene.me, kind, Status::Failed, None, Some(fault));
        self.drive_waiting(cx);
        self.raise(cx);
    }

    /// Gives up what is in flight, because the word says so.
    pub(super) fn cancel_own(&mut self, cx: &mut Cx<'_>) {
        if self.own_is_closed() {
            return;
        }
        if !self.own.working {
            return self.own_cancelled(cx);
        }
        if self.own.giving_up.is_none() {
            self.own.giving_up = Some(Some(Fault::new(Code::Cancelled, "cancelled")));
            cx.out.effects.push(Effect::CancelWork { tree: self.tree.clone(), who: Who::Own });
        }
    }

    fn own_cancelled(&mut self, cx: &mut Cx<'_>) {
        let kind = self.kind();
        let Some(own) = self.state.own.as_mut() else { return };
        let (stage, began) = (own.stage, own.began_ms);
        own.stage = OwnStage::Cancelled;
        self.own.epoch += 1;
        self.own.resting = false;
        self.dirty = true;
        cx.phase(cx.scene.me, phase_of(stage), PhaseStatus::Skipped, began, Some("cancelled".to_owned()));
        cx.node(cx.scene.me, kind, Status::Cancelled, None, None);
        self.drive_waiting(cx);
    }

    pub(super) fn own_timer(&mut self, key: &TimerKey, cx: &mut Cx<'_>) {
        if key.epoch != self.own.epoch {
            return;
        }
        match key.kind {
            TimerKind::Retry => {
                self.own.resting = false;
                self.drive_own(cx);
            }
            TimerKind::Limit => {
                let Some(stage) = self.state.own.as_ref().map(|own| own.stage) else { return };
                let limits = self.state.policy.limits;
                let fault = match stage {
                    OwnStage::Hosting => timeout("the machine did not become a host", limits.host),
                    OwnStage::Configuring => timeout("the spec was not applied", limits.configure),
                    OwnStage::Verifying => timeout("the node was not verified", limits.verify),
                    OwnStage::Ready | OwnStage::Failed | OwnStage::Cancelled => return,
                };
                if !self.own.working {
                    self.own.resting = false;
                    self.own_failed(fault, cx);
                } else if self.own.giving_up.is_none() {
                    self.own.giving_up = Some(Some(fault));
                    cx.out.effects.push(Effect::CancelWork { tree: self.tree.clone(), who: Who::Own });
                }
            }
            TimerKind::Silence => {}
        }
    }

    /// The forward phase is over once every child has its order or never will.
    pub(super) fn finish_forwarding(&mut self, cx: &mut Cx<'_>) {
        let Some(began) = self.state.own.as_ref().and_then(|own| own.forwarding_ms) else { return };
        let handed = |child: &super::Child| child.state.stage == Stage::Delegated || child.state.stage.is_end();
        if self.state.word.is_none() && !self.children.values().all(handed) {
            return;
        }
        if let Some(own) = self.state.own.as_mut() {
            own.forwarding_ms = None;
        }
        self.dirty = true;
        cx.phase(cx.scene.me, Phase::Forward, PhaseStatus::Passed, began, None);
    }

    fn arm_own(&self, kind: TimerKind, after: Millis, cx: &mut Cx<'_>) {
        let key = TimerKey { tree: self.tree.clone(), who: Who::Own, kind, epoch: self.own.epoch };
        cx.out.effects.push(Effect::Timer { key, after_ms: after.0 });
    }
}

const fn phase_of(stage: OwnStage) -> Phase {
    match stage {
        OwnStage::Hosting => Phase::Host,
        OwnStage::Verifying => Phase::Verify,
        OwnStage::Configuring | OwnStage::Ready | OwnStage::Failed | OwnStage::Cancelled => Phase::Configure,
    }
}
