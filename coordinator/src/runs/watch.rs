//! The task of a run in progress: it looks at how the tree stands, gives the core what the run owes it, and waits for
//! something to change; so a restart is nothing special.

use std::time::Duration;

use homestak_node::runtime::{TreeSnapshot, Update};
use homestak_protocol::event::NodeView;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::RunId;
use homestak_protocol::order::Verb;
use homestak_protocol::path::NodePath;
use tokio::sync::watch as signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Engine, Live, Reach, clock, next_update, not_found, outcome, refuse};
use crate::api::{Exit, Refusal, RunVerb};
use crate::documents::{ErrorDocument, NodeDocument, RunSummary};
use crate::store::{GivenUp, Record, RunRow, RunState, Stage, TreeRow, Verified};

/// The pause after a failed write: the disk is full, and a run that cannot be written down is not over.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// What a look at the run came to.
enum Look {
    /// Something was done: look again.
    Again,
    /// There is nothing to do before something changes.
    Wait,
    /// The host is not there to be told what this run owes it.
    Absent(Fault),
    /// It is over, and that is written down.
    Over,
    /// The process ends, and the run does not.
    Ending,
}

impl<R: Record, C: Reach> Engine<R, C> {
    /// Starts the task of a run.
    pub(super) fn watch(&self, row: RunRow) {
        let (give_up, asked) = signal::channel(row.given_up);
        let (done, over) = signal::channel(false);
        let id = row.id;
        self.live().insert(id, Live { give_up, over });
        self.0.turns.send_modify(|turns| *turns += 1);
        let engine = self.clone();
        self.0.life.tracker.spawn(async move {
            if engine.see_through(row, asked).await {
                engine.live().remove(&id);
                let _ = done.send(true);
                engine.0.turns.send_modify(|turns| *turns += 1);
            }
        });
    }

    /// Gives a run up. It is on disk once this returns.
    pub async fn cancel(&self, run: RunId) -> Result<RunSummary, Refusal> {
        let row = self.store().run(run).await.map_err(|error| refuse(&error.fault()))?;
        let mut row = row.ok_or_else(|| unknown(run))?;
        if row.state != RunState::Running {
            let fault = Fault::new(Code::Busy, format!("run {run} is over: it has {}", row.state.as_str()));
            return Err(Refusal::new(Exit::Failed, &fault));
        }
        if row.stage != Stage::Up {
            let fault = Fault::new(Code::Busy, format!("run {run} is destroying, which is not given up half-way"))
                .hint(format!("follow it with `homestak-coord logs {run} --follow`"));
            return Err(Refusal::new(Exit::Failed, &fault));
        }
        // The run's own task writes it; it is what changes the row from now on.
        let over = self.live().get(&run).map(|live| (live.give_up.clone(), live.over.clone()));
        if let Some((give_up, mut over)) = over {
            give_up.send_if_modified(|given| given.is_none().then(|| *given = Some(GivenUp::Asked)).is_some());
            self.said(run, &mut over).await;
        }
        row.given_up = Some(GivenUp::Asked);
        Ok(super::begin::summary(&row))
    }

    /// Waits until a run's task has written that it is given up, or is over.
    async fn said(&self, run: RunId, over: &mut signal::Receiver<bool>) {
        let mut turns = self.turns();
        loop {
            let row = self.store().run(run).await.ok().flatten();
            if *over.borrow() || row.is_none_or(|row| row.given_up.is_some() || row.stage != Stage::Up) {
                return;
            }
            tokio::select! {
                _ = over.changed() => {}
                _ = turns.changed() => {}
                () = self.0.life.ending.cancelled() => return,
            }
        }
    }

    /// Sees a run through to its end. False where the process ends before the run does.
    async fn see_through(&self, mut row: RunRow, mut asked: signal::Receiver<Option<GivenUp>>) -> bool {
        let place = NodePath::host_root(&row.host);
        let tree = self.tree_id(&row.host, &row.manifest);
        let mut updates = self.core().updates();
        let started = Instant::now();
        let spent = Duration::from_millis(clock::now_ms().saturating_sub(row.started_ms));
        let deadline = row.request.timeout_ms.map(|ms| started + Duration::from_millis(ms).saturating_sub(spent));
        let mut absent_since: Option<Instant> = None;
        let patience = self.0.limits.at_level(0, 0).grace.duration();
        loop {
            let given_up = *asked.borrow_and_update();
            if given_up.is_some() && row.given_up.is_none() {
                row.given_up = given_up;
                if !self.write(&row).await {
                    return false;
                }
                self.0.turns.send_modify(|turns| *turns += 1);
            }
            let wake = match self.look(&mut row).await {
                Ok(Look::Again) => continue,
                Ok(Look::Over) => return true,
                Ok(Look::Ending) => return false,
                Ok(Look::Wait) => {
                    absent_since = None;
                    None
                }
                Ok(Look::Absent(fault)) => {
                    let until = *absent_since.get_or_insert_with(Instant::now) + patience;
                    if Instant::now() >= until {
                        return self.finish(&mut row, Some(ErrorDocument::from(&fault))).await;
                    }
                    Some(until)
                }
                Err(fault) => {
                    tracing::warn!(run = %row.id, %fault, "the run cannot go on");
                    return self.finish(&mut row, Some(ErrorDocument::from(&fault))).await;
                }
            };
            let worth = |update: &Update| match update {
                Update::Settled(settled, _) => *settled == tree,
                Update::Presence(presence) => presence.path == place,
                _ => false,
            };
            let out_of_time = deadline.filter(|_| row.given_up.is_none());
            tokio::select! {
                () = self.0.life.ending.cancelled() => return false,
                going_on = next_update(&mut updates, worth) => if !going_on { return false },
                Ok(()) = asked.changed() => {}
                () = at(wake) => {}
                () = at(out_of_time) => {
                    row.given_up = Some(GivenUp::OutOfTime);
                    tracing::info!(run = %row.id, "the run's time is over");
                    if row.stage != Stage::Up {
                        let error = outcome::out_of_time(&row);
                        return self.finish(&mut row, Some(error)).await;
                    }
                    if !self.write(&row).await {
                        return false;
                    }
                }
            }
        }
    }

    /// Looks at how the tree stands and does the next thing that the run owes.
    async fn look(&self, row: &mut RunRow) -> Result<Look, Fault> {
        let tree = self.tree_id(&row.host, &row.manifest);
        let snapshot = self.core().tree(tree).await?;
        let told = snapshot.as_ref().is_some_and(|snapshot| match row.stage {
            Stage::Up => snapshot.generation >= row.generation,
            Stage::Down => snapshot.generation >= row.generation && snapshot.word >= Some(Verb::Destroy),
            Stage::Back => snapshot.generation >= row.generation && snapshot.word >= Some(Verb::Rollback),
        });
        let Some(snapshot) = snapshot.filter(|_| told) else {
            return match self.tell(row).await {
                Ok(()) => Ok(Look::Again),
                Err(fault) if fault.code == Code::Unreachable => Ok(Look::Absent(fault)),
                Err(fault) => Err(fault),
            };
        };
        let give_up = row.stage == Stage::Up && row.given_up.is_some() && snapshot.word < Some(Verb::Cancel);
        if give_up && !snapshot.settled {
            self.say(row, Verb::Cancel).await?;
            return Ok(Look::Again);
        }
        if !snapshot.settled {
            return Ok(Look::Wait);
        }
        if row.verb == RunVerb::Test && row.stage == Stage::Up {
            return self.turn_round(row, &snapshot).await;
        }
        let error = self.failure(row, &snapshot).await?;
        Ok(self.end(row, error).await)
    }

    async fn end(&self, row: &mut RunRow, error: Option<ErrorDocument>) -> Look {
        if self.finish(row, error).await { Look::Over } else { Look::Ending }
    }

    /// Tells the core what it has not heard, or had not on disk when it last died.
    async fn tell(&self, row: &RunRow) -> Result<(), Fault> {
        if row.stage != Stage::Up {
            return self.say_down(row).await;
        }
        let ready = self.ready(&row.request).await.map_err(|refusal| {
            Fault::new(Code::Internal, format!("the manifest cannot be read again: {}", refusal.error.message))
        })?;
        self.order(row, ready).await
    }

    /// A test has built what it could: keeps what it came to and destroys it, or ends.
    async fn turn_round(&self, row: &mut RunRow, snapshot: &TreeSnapshot) -> Result<Look, Fault> {
        let error = self.failure(row, snapshot).await?;
        let destroys = if error.is_none() { !row.request.keep } else { row.cleanup_on_failure };
        if !destroys {
            return Ok(self.end(row, error).await);
        }
        let views = self.views(row, snapshot).await?;
        row.verified = Some(Verified { nodes: views.iter().map(outcome::document).collect(), error });
        if outcome::all_made(&views) {
            row.stage = Stage::Down;
            row.generation = row.generation.next();
        } else {
            row.stage = Stage::Back;
        }
        Ok(if self.write(row).await { Look::Again } else { Look::Ending })
    }

    /// Why the tree is not as the run wants it.
    async fn failure(&self, row: &RunRow, snapshot: &TreeSnapshot) -> Result<Option<ErrorDocument>, Fault> {
        let tree = self.tree_row(row).await?;
        let views = outcome::arrange(tree.as_ref(), outcome::relevant(row, snapshot.nodes.clone()));
        Ok(outcome::failure(row, row.stage == Stage::Up, tree.as_ref(), &views))
    }

    /// The nodes that the run is about, in creation order.
    pub(super) async fn views(&self, row: &RunRow, snapshot: &TreeSnapshot) -> Result<Vec<NodeView>, Fault> {
        let tree = self.tree_row(row).await?;
        Ok(outcome::arrange(tree.as_ref(), outcome::relevant(row, snapshot.nodes.clone())))
    }

    async fn tree_row(&self, row: &RunRow) -> Result<Option<TreeRow>, Fault> {
        self.store().tree(row.host.clone(), row.manifest.clone()).await.map_err(|error| error.fault())
    }

    /// Writes the result, and drops a tree of which nothing is left. False where the process ends before that is done.
    async fn finish(&self, row: &mut RunRow, error: Option<ErrorDocument>) -> bool {
        let tree = self.tree_id(&row.host, &row.manifest);
        let snapshot = self.core().tree(tree.clone()).await.ok().flatten();
        let views = match &snapshot {
            Some(snapshot) => self.views(row, snapshot).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let (nodes, error): (Vec<NodeDocument>, _) = match row.verified.take() {
            Some(verified) => (outcome::mark_destroyed(verified.nodes, &views), verified.error.or(error)),
            None => (views.iter().map(outcome::document).collect(), error),
        };
        row.ended_ms = Some(clock::now_ms());
        row.state = match (&error, row.given_up) {
            (None, _) => RunState::Succeeded,
            (Some(_), Some(_)) => RunState::Cancelled,
            (Some(_), None) => RunState::Failed,
        };
        row.error.clone_from(&error);
        row.result = Some(Box::new(outcome::run_document(row, nodes, error)));
        // First forgotten, then over: whoever waits for the end finds the tree as it is then.
        if let Err(fault) = self.forget_if_gone(&row.host, &row.manifest).await {
            tracing::warn!(%tree, %fault, "a tree that is gone cannot be dropped from the record yet");
        }
        let written = self.write(row).await;
        if written {
            tracing::info!(run = %row.id, state = row.state.as_str(), %tree, "the run is over");
        }
        written
    }

    /// Writes how the run stands, however long that takes. False where the process ends before it is written.
    async fn write(&self, row: &RunRow) -> bool {
        loop {
            match self.store().update(row.clone()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!(run = %row.id, error = &error as &dyn std::error::Error, "the run cannot be written down");
                }
            }
            tokio::select! {
                () = self.0.life.ending.cancelled() => return false,
                () = sleep(WRITE_RETRY) => {}
            }
        }
    }
}

/// Sleeps until then; for ever where there is no then.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

pub(super) fn unknown(run: RunId) -> Refusal {
    not_found(format!("there is no run {run} on record"), "`homestak-coord runs` lists them")
}
