//! Making machines: a child goes waiting → provisioning → booting → forwarding → delegated, and can fail on the way.

use homestak_protocol::event::{Action, NodeView, Phase, PhaseStatus, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::{Reply, Request};
use homestak_protocol::order::{Millis, Verb};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;

use super::{Child, Cx, Goal, Op, Operator, OwnStage, Stage, Why, known_below, shown};
use crate::core::record::{PeerState, Record};
use crate::core::step::{Sent, TimerKind, Work, Worked};
use crate::link::LinkId;
use crate::world::{Ensured, Found};

/// What becomes of a child that has not been begun with.
enum Turn {
    /// It may begin.
    Begin,
    /// This machine is not ready yet.
    Wait,
    /// It never will, in this generation.
    End(Stage, Status),
}

impl Operator {
    pub(super) fn drive_up(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.op.is_some() || child.resting {
            return;
        }
        match child.state.stage {
            Stage::Waiting => self.begin_up(child, cx),
            Stage::Provisioning | Stage::Booting if child.state.ours && self.state.word >= Some(Verb::Cancel) => {
                self.cancelled(child, cx);
            }
            Stage::Provisioning => self.ensure(child, cx),
            Stage::Booting => self.await_joining(child, cx),
            Stage::Forwarding => self.forward(child, cx),
            Stage::Delegated => self.keep_up(child, cx),
            // It was named again while it went: first it goes.
            Stage::Removing => self.remove(child, cx),
            // Late, but there: what it tells corrects the record.
            Stage::Unreachable if cx.link(&child.state.path).is_some() => {
                child.enter(Stage::Forwarding, cx.now_ms());
                self.forward(child, cx);
            }
            _ => {}
        }
    }

    fn turn(&self) -> Turn {
        match (self.state.word, self.state.own.as_ref().map(|own| own.stage)) {
            (Some(Verb::Cancel), _) | (None, Some(OwnStage::Cancelled)) => {
                Turn::End(Stage::Cancelled, Status::Cancelled)
            }
            (Some(_), _) | (None, Some(OwnStage::Failed)) => Turn::End(Stage::Skipped, Status::Skipped),
            (None, None | Some(OwnStage::Ready)) => Turn::Begin,
            (None, Some(_)) => Turn::Wait,
        }
    }

    fn begin_up(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        if child.ask.is_none() {
            return self.orphan(child, cx);
        }
        match self.turn() {
            Turn::Wait => return,
            Turn::End(stage, status) => return self.end(child, stage, status, cx),
            Turn::Begin => {}
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
            return self.orphan(child, cx);
        };
        let path = &child.state.path;
        // A life goes on for as long as its token is on record.
        let life = child.state.incarnation.filter(|_| !std::mem::take(&mut child.life_over)).and_then(|life| {
            let peer = cx.scene.peers.get(path).filter(|peer| peer.incarnation == life)?;
            Some((life, peer.token.clone()))
        });
        child.bound = life.as_ref().and_then(|_| cx.scene.peers.get(path)?.key);
        let (incarnation, token) = life.unwrap_or_else(|| {
            // A new life is bound to the token that is put into it, and to no key yet.
            let (incarnation, token) = (Incarnation::from_bits(cx.draw()), make.token);
            cx.out.records.push(Record::PeerGone(path.clone()));
            cx.out.records.push(Record::Peer(unbound(path, incarnation, token.clone())));
            child.state.incarnation = Some(incarnation);
            child.state.joined = false;
            (incarnation, token)
        });
        if !child.state.exists {
            // Whichever run is the first to be told that it is there is the one that has made it.
            child.state.made_in = Some(self.state.generation);
        }
        child.dirty = true;
        let work = Work::Ensure {
            run: self.state.run,
            incarnation,
            machine: Box::new(make.machine),
            cloud_init: Box::new(make.cloud_init),
            token,
            extras: Box::new(make.extras),
        };
        if child.attempts == 0 {
            self.arm(child, TimerKind::Limit, self.state.policy.limits.provision, cx);
        }
        self.begin(child, Op::Ensure, work, cx);
    }

    /// The machine was made or found, or it was not.
    pub(super) fn ensured(&mut self, child: &mut Child, result: Result<Worked, Fault>, cx: &mut Cx<'_>) {
        let given_up = child.giving_up.take();
        let again = std::mem::take(&mut child.again);
        let outcome = match result {
            Ok(Worked::Ensured(made)) => Ok(self.is_there(child, &made, again, cx)),
            Ok(_) => Err(Fault::new(Code::Internal, "making a machine came to something else")),
            Err(fault) => Err(fault),
        };
        if again && child.state.goal == Goal::Up {
            child.enter(Stage::Waiting, cx.now_ms());
            return self.drive(child, cx);
        }
        if let Ok(action) = outcome {
            self.node_made(child, Some(action), cx);
            cx.phase(&child.state.path, Phase::Provision, PhaseStatus::Passed, child.state.began_ms, None);
        }
        if child.state.goal == Goal::Down(Why::Rollback) && matches!(outcome, Ok(Action::Adopted)) {
            // It was not this run that has made it.
            child.state.goal = Goal::Up;
            return self.cancelled(child, cx);
        }
        if child.state.goal != Goal::Up {
            return self.drive(child, cx);
        }
        match outcome {
            Ok(_) if self.state.word == Some(Verb::Rollback) && self.has_made(child) => {
                self.begin_down(child, Why::Rollback, cx);
            }
            Ok(_) => {
                child.enter(Stage::Booting, cx.now_ms());
                child.enrolling = false;
                child.spurned = false;
                cx.phase(&child.state.path, Phase::Boot, PhaseStatus::Running, 0, None);
                self.drive(child, cx);
            }
            Err(_) if self.state.word >= Some(Verb::Cancel) => self.cancelled(child, cx),
            Err(fault) if given_up.is_none() && self.rests(child, &fault, cx) => {}
            Err(fault) => self.fail(child, Phase::Provision, blamed(given_up, fault), cx),
        }
    }

    /// Whether this run has made the child's machine.
    pub(super) fn has_made(&self, child: &Child) -> bool {
        child.state.ours && child.state.made_in == Some(self.state.generation)
    }

    /// Takes down that the machine is there, and says what was done for that.
    fn is_there(&self, child: &mut Child, made: &Ensured, again: bool, cx: &mut Cx<'_>) -> Action {
        let known = std::mem::replace(&mut child.state.exists, true);
        child.state.vmid = made.vmid.or(child.state.vmid);
        child.state.ip = made.ip.or(child.state.ip);
        child.dirty = true;
        match made.found {
            Found::Created => {
                if (known && child.state.joined) || child.bound.is_some() {
                    self.replaced(child, cx);
                }
                if !again {
                    child.state.made_in = Some(self.state.generation);
                }
                Action::Created
            }
            Found::Adopted => adopted(child),
            // What became of it was not heard: we crashed, or gave it up, before.
            Found::Unchanged | Found::Updated if !known && made.adopted => adopted(child),
            Found::Unchanged | Found::Updated if !known => Action::Created,
            Found::Unchanged => Action::Unchanged,
            Found::Updated => Action::Updated,
        }
    }

    /// Somebody else had removed the machine, and now there is another in its place: what was inside is gone, and the
    /// key that its token was bound to is nobody's, whether its agent had come to join or had only enrolled.
    fn replaced(&self, child: &mut Child, cx: &mut Cx<'_>) {
        self.bury(child, Status::Destroyed, cx);
        child.state.joined = false;
        let path = &child.state.path;
        let life = child.state.incarnation.zip(cx.scene.peers.get(path).map(|peer| peer.token.clone()));
        if let Some((incarnation, token)) = life {
            cx.out.records.push(Record::Peer(unbound(path, incarnation, token)));
        }
    }

    fn await_joining(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let Some(ip) = cx.link(&child.state.path).map(|link| link.ip) else {
            let limits = self.state.policy.limits;
            if !child.state.ours {
                self.listen(child, limits.grace, cx);
            } else if !child.silent {
                child.silent = true;
                self.arm(child, TimerKind::Limit, limits.boot, cx);
                self.watch(child, cx);
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
                self.node_made(child, None, cx);
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
        let reads = link.order_version;
        if order.version > reads {
            let text = format!("its order has version {}, and its agent reads up to {reads}", order.version);
            let hint = "this machine's agent is older than the coordinator: update the agent in its image";
            return self.fail(child, Phase::Enrol, Fault::new(Code::Version, text).hint(hint), cx);
        }
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
            Reply::Done
            | Reply::Surveyed(_)
            | Reply::Seen(_)
            | Reply::Inventory(_)
            | Reply::Described(_)
            | Reply::Sources(_)
            | Reply::Compared(_) => {
                self.delegated(child, cx);
            }
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
        let Some(link) = cx.link(&child.state.path) else {
            return self.listen(child, self.state.policy.limits.grace, cx);
        };
        child.heard();
        if link.generations.get(&self.tree) < Some(&self.state.generation) {
            // It took the order, and has lost it with all that it remembered.
            child.enter(Stage::Forwarding, cx.now_ms());
            return self.forward(child, cx);
        }
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
                let fault = never_joined(child, limits.boot);
                child.life_over |= child.spurned;
                self.fail(child, phase_of(child), fault, cx);
            }
            Stage::Removing => {
                let fault = timeout("the machine was not gone", limits.destroy);
                if child.op.is_some() { self.give_up(child, fault, cx) } else { self.stays(child, fault, cx) }
            }
            _ => {}
        }
    }

    /// Its agent has not been heard of for too long.
    pub(super) fn out_of_hearing(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        child.heard();
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
        let fault = Fault::new(
            Code::Unreachable,
            format!("the agent of {} has not been heard of for {} s", child.state.path, grace.0 / 1000),
        )
        .hint("what it was ordered goes on without us; `status` shows it as soon as it is back")
        .at(&child.state.path);
        self.lose(child, fault, cx);
    }

    /// There is no getting through to its agent: nothing more is known of it and of what it carries.
    fn lose(&mut self, child: &mut Child, fault: Fault, cx: &mut Cx<'_>) {
        child.enter(Stage::Unreachable, cx.now_ms());
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

    /// Given up on request, before its agent was told of this run.
    pub(super) fn cancelled(&mut self, child: &mut Child, cx: &mut Cx<'_>) {
        let note = Some("cancelled".to_owned());
        cx.phase(&child.state.path, phase_of(child), PhaseStatus::Skipped, child.state.began_ms, note);
        child.enter(Stage::Cancelled, cx.now_ms());
        cx.node(&child.state.path, child.state.kind, Status::Cancelled, None, None);
    }

    /// It will not take a word.
    pub(super) fn word_refused(&mut self, child: &mut Child, fault: Fault, cx: &mut Cx<'_>) {
        child.told = None;
        if self.rests(child, &fault, cx) {
            return;
        }
        match child.state.goal {
            // Its machine goes whether its agent likes it or not.
            Goal::Down(_) if child.state.ours => {
                child.given_up_on = true;
                self.drive(child, cx);
            }
            Goal::Down(_) => self.lose(child, fault, cx),
            Goal::Up if child.state.stage == Stage::Delegated => self.fail(child, Phase::Enrol, fault, cx),
            Goal::Up => {}
        }
    }
}

/// Its agent has not joined, for what it was last seen to wait for.
fn never_joined(child: &Child, limit: Millis) -> Fault {
    let (id, seconds) = (shown(child.state.vmid), limit.0 / 1000);
    let seen = child.glance.as_ref().map(|glance| format!("; {}: {}", glance.layer, glance.text)).unwrap_or_default();
    let hint = child.glance.as_ref().and_then(|glance| glance.hint.clone()).unwrap_or_else(|| {
        "look at the machine's console; is the agent in its image, and can it reach its host's UDP port?".to_owned()
    });
    let text = format!("the machine runs ({id}), but its agent did not join within {seconds} s{seen}");
    Fault::new(Code::Boot, text).hint(hint).at(&child.state.path)
}

/// The machine was there before this run, with another life in it.
fn adopted(child: &mut Child) -> Action {
    child.state.made_in = None;
    child.state.joined = false;
    Action::Adopted
}

/// The phase that a child is in which is not delegated yet.
fn phase_of(child: &Child) -> Phase {
    match child.state.stage {
        Stage::Booting if child.enrolling => Phase::Enrol,
        Stage::Booting => Phase::Boot,
        _ => Phase::Provision,
    }
}

/// An identity that waits for the first key to show its token.
fn unbound(path: &NodePath, incarnation: Incarnation, token: Secret) -> PeerState {
    PeerState { path: path.clone(), incarnation, token, key: None, revoked: false }
}

/// Why something came to nothing: because it was given up, and then with what was in its way by then.
pub(super) fn blamed(given_up: Option<Fault>, fault: Fault) -> Fault {
    match given_up {
        Some(why) if fault.code == Code::Cancelled && fault.hint.is_some() => {
            Fault { message: format!("{}: {}", why.message, fault.message), hint: why.hint.or(fault.hint), ..why }
        }
        Some(why) => why,
        None => fault,
    }
}

pub(super) fn timeout(what: &str, limit: Millis) -> Fault {
    Fault::new(Code::Timeout, format!("{what} within {} s", limit.0 / 1000))
}
