//! Keeping a machine running: its process ends, and is started again in the same folder.

use std::sync::Arc;
use std::time::Duration;

use homestak_node::crash::Side;
use homestak_node::process::{Held, ProcessMark};
use homestak_protocol::fault::{Code, Fault};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::record::{Desired, Record};
use super::{Slot, Yard, blocking, storage};

/// The pause before a machine is started again; twice as long each time it does not last.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: a machine that cannot run costs one process every ten seconds.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a machine has to run for the pauses to begin anew.
const LASTED: Duration = Duration::from_secs(10);

/// Whoever keeps a machine running.
pub(super) struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Keeps the machine of this slot running, which does so now.
    pub(super) fn begin(yard: &Arc<Yard>, slot: &Arc<Slot>, held: Held) -> Self {
        let stop = yard.life.ending.child_token();
        let task = yard.life.tracker.spawn(keep(Arc::clone(yard), Arc::clone(slot), held, stop.clone()));
        Self { stop, task }
    }

    /// Whether it still does.
    pub(super) fn is_at_work(&self) -> bool {
        !self.task.is_finished()
    }

    /// Lets the machine be.
    pub(super) async fn dismiss(self) {
        self.stop.cancel();
        // It cannot panic, and nobody else ends it.
        let _ended = self.task.await;
    }
}

async fn keep(yard: Arc<Yard>, slot: Arc<Slot>, mut held: Held, stop: CancellationToken) {
    let mut pause = PAUSE_MIN;
    loop {
        let since = Instant::now();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = held.ended() => held.collect(),
        }
        if since.elapsed() >= LASTED {
            pause = PAUSE_MIN;
        }
        held = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
            // Whoever dismisses this keeper holds the gate and waits for its end, so it must not wait for the gate alone.
            let gate = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                gate = slot.gate.lock() => gate,
            };
            let launched = launch(&yard, &slot).await;
            drop(gate);
            match launched {
                Ok(Some(held)) => {
                    tracing::info!(machine = %slot.tag, "the agent of a machine had ended; it runs again");
                    break held;
                }
                Ok(None) => return tracing::info!(machine = %slot.tag, "a machine is gone"),
                Err(fault) => {
                    tracing::warn!(machine = %slot.tag, why = %fault.message, "a machine cannot be started; trying again");
                }
            }
        };
    }
}

/// Takes hold of the machine's process, and starts one if there is none. None where there is no machine that should run.
/// The caller holds the gate.
pub(super) async fn launch(yard: &Arc<Yard>, slot: &Arc<Slot>) -> Result<Option<Held>, Fault> {
    let (at, place) = (Arc::clone(yard), Arc::clone(slot));
    let failed = |error: &dyn std::error::Error| storage("the machine could not be started", error);
    let Some(mark) = blocking(move || run(&at, &place)).await?? else { return Ok(None) };
    match mark.hold().map_err(|error| failed(&error))? {
        Some(held) => Ok(Some(held)),
        None => Err(Fault::new(Code::ProvisionTransient, "the machine's agent ended at once; its log says why")),
    }
}

fn run(yard: &Yard, slot: &Slot) -> Result<Option<ProcessMark>, Fault> {
    let failed = |error: &dyn std::error::Error| storage("the machine could not be started", error);
    let record = Record::read(&slot.folder).map_err(|error| failed(&error))?;
    let Some(record) = record.filter(|record| record.desired == Desired::Running) else { return Ok(None) };
    let mark = match record.running(&slot.folder) {
        Some(mark) => mark,
        None => {
            yard.reach("machine.spawn", Side::Before);
            let mark = yard.launcher.spawn(&slot.folder).map_err(|error| failed(&error))?;
            yard.reach("machine.spawn", Side::After);
            mark
        }
    };
    if record.process.as_ref() != Some(&mark) {
        let record = Record { process: Some(mark.clone()), ..record };
        record.write(&slot.folder).map_err(|error| failed(&error))?;
    }
    Ok(Some(mark))
}
