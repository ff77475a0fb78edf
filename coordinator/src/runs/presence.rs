//! The task that keeps the last word on every agent, so that `status` can say after a restart when one was last heard of;
//! and the last word on every node that is worked on, so that `status` can say what it waits for.

use homestak_node::runtime::Update;
use homestak_protocol::event::Presence;
use tokio::sync::broadcast::error::RecvError;

use super::{Engine, Reach};
use crate::store::Record;

/// Starts it.
pub(super) fn keep<R: Record, C: Reach>(engine: &Engine<R, C>) {
    let engine = engine.clone();
    let mut updates = engine.core().updates();
    let life = engine.0.life.clone();
    let tracker = life.tracker.clone();
    tracker.spawn(async move {
        loop {
            let update = tokio::select! {
                () = life.ending.cancelled() => return,
                update = updates.recv() => update,
            };
            if let Ok(update) = &update {
                engine.0.words.hear(update);
            }
            match update {
                Ok(Update::Presence(presence)) => engine.remember(&presence).await,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    for presence in engine.core().agents().await.unwrap_or_default() {
                        engine.remember(&presence).await;
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    });
}

impl<R: Record, C: Reach> Engine<R, C> {
    async fn remember(&self, presence: &Presence) {
        if let Err(error) = self.store().put_presence(presence.clone()).await {
            tracing::warn!(path = %presence.path, error = &error as &dyn std::error::Error, "the last word on an agent is not kept");
        }
    }
}
