//! A daemon that a command started ends when there is nothing left to look after: no recorded tree, no run, no client, and
//! no agent but that of `local`, which then ends with it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::Daemon;

/// How long it stays in case another command follows: starting anew costs that command a few hundred milliseconds.
const LINGER: Duration = Duration::from_secs(3);

/// Starts the task.
pub(super) fn watch(daemon: &Daemon) {
    let daemon = daemon.clone();
    daemon.life.tracker.clone().spawn(async move {
        let (mut turns, mut clients) = (daemon.engine.turns(), daemon.clients.subscribe());
        loop {
            let _ = (turns.borrow_and_update(), clients.borrow_and_update());
            let quiet = is_quiet(&daemon).await;
            let lingered = async { if quiet { sleep(LINGER).await } else { std::future::pending().await } };
            tokio::select! {
                () = daemon.life.ending.cancelled() => return,
                _ = turns.changed() => {}
                _ = clients.changed() => {}
                () = lingered => {
                    // A host may have been let in since.
                    if is_quiet(&daemon).await {
                        tracing::info!("there is nothing left to look after");
                        daemon.life.ending.cancel();
                        return;
                    }
                }
            }
        }
    });
}

async fn is_quiet(daemon: &Daemon) -> bool {
    let on_demand = daemon.on_demand.load(Ordering::Relaxed);
    let alone = *daemon.clients.borrow() == 0;
    // A question that cannot be answered is a reason to stay.
    on_demand
        && alone
        && daemon.engine.is_idle().await.unwrap_or(false)
        && daemon.engine.connected().await.is_ok_and(|(_, others)| !others)
}
