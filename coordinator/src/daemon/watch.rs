//! What the coordinator adds to `/metrics`: what an operator of it watches.

use std::sync::Arc;

use homestak_node::https::{More, Text};

use super::Daemon;
use super::folder::STORE;
use super::specs::Specs;
use crate::api::BUILD;
use crate::store::{Record as _, RunFilter, RunState};

/// The states that runs are counted by.
const STATES: [RunState; 4] = [RunState::Running, RunState::Succeeded, RunState::Failed, RunState::Cancelled];

impl Daemon {
    async fn tell(&self, specs: &Specs, mut text: Text) -> Text {
        let version = env!("CARGO_PKG_VERSION");
        text.family("homestak_build_info", "gauge", "This program.");
        text.sample("homestak_build_info", &format!("version=\"{version}\",build=\"{BUILD}\""), 1);
        text.gauge("homestak_start_time_seconds", "When this process began, since 1970.", self.started_ms / 1000);
        let (hits, misses) = specs.kept.counts();
        text.counter("homestak_spec_cache_hits_total", "Resolved specs that were at hand.", hits);
        text.counter("homestak_spec_cache_misses_total", "Specs that had to be resolved.", misses);
        if let Ok((agents, _)) = self.engine.connected().await {
            text.gauge("homestak_agents_connected", "Agents that are connected, at any depth.", agents.into());
        }
        if let Ok(trees) = self.engine.recorded_trees().await {
            text.gauge("homestak_trees", "Trees on record.", trees.into());
        }
        if let Ok(runs) = self.store.runs(RunFilter::default()).await {
            text.family("homestak_runs", "gauge", "Runs on record, by how they stand.");
            for state in STATES {
                let count = runs.iter().filter(|run| run.state == state).count();
                text.sample("homestak_runs", &format!("state=\"{}\"", state.as_str()), count);
            }
        }
        let size = |name: &str| {
            std::fs::metadata(self.settings.state_dir.join(super::folder::KEPT).join(name)).map(|meta| meta.len())
        };
        text.gauge("homestak_store_bytes", "Bytes of the store.", size(STORE).unwrap_or_default());
        let wal = format!("{STORE}-wal");
        text.gauge("homestak_store_wal_bytes", "Bytes of the store's journal.", size(&wal).unwrap_or_default());
        text
    }
}

/// What is told from when there is a daemon on.
pub(super) fn more(daemon: Arc<std::sync::OnceLock<Daemon>>, specs: Arc<Specs>) -> More {
    Arc::new(move |text| {
        let (daemon, specs) = (daemon.get().cloned(), Arc::clone(&specs));
        Box::pin(async move {
            match daemon {
                Some(daemon) => daemon.tell(&specs, text).await,
                None => text,
            }
        })
    })
}
