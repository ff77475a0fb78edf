//! Looking again, some time after a run, whether this machine still is what its spec says (`run` in the spec), and telling
//! upward what is not. Nothing is put right here: the next apply does that.
//!
//! Task: one for as long as the agent runs. It wakes on the spec's rhythm and when an order has been carried out, and tells
//! the core what has changed since it last told. While the link is down nothing is told; then the latest word is.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use homestak_node::runtime::{Handle, TreeSnapshot, Update};
use homestak_node::trust::clock::Clock;
use homestak_node::world::Task;
use homestak_protocol::event::{Drift, Status};
use homestak_protocol::fault::Fault;
use homestak_protocol::path::NodePath;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::marker::kept_spec;
use crate::world::AgentWorld;

/// Looks again, on the rhythm of this machine's spec.
pub struct Watch {
    /// This machine.
    pub place: NodePath,
    /// Its core.
    pub handle: Handle,
    /// How it is looked at.
    pub world: Arc<AgentWorld>,
    /// What time it is.
    pub clock: Clock,
}

impl Watch {
    /// Until this ends.
    pub async fn run(self, ending: CancellationToken) {
        let mut updates = self.handle.updates();
        // What a process before this one has told is not known: then the first word is told, whatever it is.
        let mut told: Option<Vec<String>> = None;
        loop {
            let pause = self.pause();
            let due = async {
                match pause {
                    Some(pause) => sleep(pause).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = ending.cancelled() => return,
                heard = carried_out(&mut updates) => match heard {
                    // What was told before is about another generation.
                    true => told = Some(Vec::new()),
                    false => return,
                },
                () = due => match self.look(told.as_deref(), &ending).await {
                    Ok(Some(found)) => told = Some(found),
                    Ok(None) => {}
                    Err(fault) => tracing::info!(%fault, "whether this machine is what its spec says is not told"),
                },
            }
        }
    }

    /// How long until the next look; none where the spec wants none.
    fn pause(&self) -> Option<Duration> {
        match kept_spec(&self.world.state) {
            Ok(spec) => spec?.run?.rhythm().map(|every| jittered(every, RandomState::new().hash_one(()))),
            Err(error) => {
                tracing::warn!(%error, "the spec that is kept cannot be read, so this machine is not looked at");
                None
            }
        }
    }

    /// Looks, and tells what was found where that is not what was told. The answer is what is told by now.
    async fn look(&self, told: Option<&[String]>, ending: &CancellationToken) -> Result<Option<Vec<String>>, Fault> {
        let Some(tree) = self.completed().await? else { return Ok(None) };
        let task = Task { cancel: ending.clone(), progress: Arc::new(|_| {}) };
        let found = self.world.deviations(&self.place, task).await?;
        if told == Some(&found) || self.handle.status().await?.parent.is_none() {
            return Ok(None);
        }
        let mended = found.is_empty() && told.is_some_and(|told| !told.is_empty());
        let drift = drift(&self.place, &found, self.clock.now_ms(), mended);
        self.handle.drifted(tree.tree, tree.generation, drift).await?;
        Ok(Some(found))
    }

    /// The tree that this machine is a part of, once it is completed.
    async fn completed(&self) -> Result<Option<TreeSnapshot>, Fault> {
        let done = |tree: &TreeSnapshot| {
            tree.settled && tree.nodes.iter().any(|node| node.path == self.place && node.status == Status::Completed)
        };
        Ok(self.handle.trees().await?.into_iter().find(done))
    }
}

/// Waits until an order has been carried out. False once there is nobody who would give one.
async fn carried_out(updates: &mut Receiver<Update>) -> bool {
    loop {
        match updates.recv().await {
            Ok(Update::Settled(..)) | Err(RecvError::Lagged(_)) => return true,
            Ok(_) => {}
            Err(RecvError::Closed) => return false,
        }
    }
}

/// A tenth more or less, so that machines that were made together do not look and tell together.
fn jittered(every: Duration, random: u64) -> Duration {
    let tenth = every / 10;
    let share = u32::try_from(random % 1_000).unwrap_or_default();
    every - tenth + tenth * 2 / 1_000 * share
}

fn drift(place: &NodePath, found: &[String], checked_ms: u64, mended: bool) -> Drift {
    let line = |text: &String| {
        let text = text.replace(['\n', '\r', '\t'], " ");
        text.chars()
            .scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= Drift::LINE).then_some(c)
            })
            .collect()
    };
    Drift {
        path: place.clone(),
        differences: u32::try_from(found.len()).unwrap_or(u32::MAX),
        lines: found.iter().take(Drift::LINES).map(line).collect(),
        checked_ms,
        mended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread_around_the_rhythm_and_a_word_is_bounded() {
        for every in [Duration::from_secs(1), Duration::from_secs(30 * 60)] {
            let (least, most) = (jittered(every, 0), jittered(every, 999));
            assert!(least >= every / 10 * 9 && most <= every / 10 * 11 && least < most, "{least:?} {most:?}");
        }
        let found: Vec<String> = (0..20).map(|number| format!("user{number}\n{}", "ä".repeat(300))).collect();
        let drift = drift(&NodePath::parse("local/harbour/quay").unwrap(), &found, 1, false);
        assert_eq!((drift.differences, drift.lines.len()), (20, Drift::LINES));
        assert!(
            drift
                .lines
                .iter()
                .all(|line| line.len() <= Drift::LINE && line.starts_with("user") && !line.contains('\n'))
        );
    }
}
