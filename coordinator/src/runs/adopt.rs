//! Hosts and their agents: letting them in, sending them away, and taking over what they know.

use homestak_protocol::fault::Fault;
use homestak_protocol::message::PveHost;
use homestak_protocol::name::HostName;
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use homestak_protocol::token::{self, Claims};

use super::{Engine, Reach, clock, outcome, refuse};
use crate::api::Refusal;
use crate::documents::StatusDocument;
use crate::lower::only_seen;
use crate::store::{Record, TreeRow};

/// What stands in the place of a spec in the token of a host's agent, which fetches none.
const HOST_SPEC: &str = "host";

impl<R: Record, C: Reach> Engine<R, C> {
    /// Lets a host's agent join with the token that is returned. One that has joined already stays as it is unless it is to
    /// be replaced.
    pub async fn expect(&self, host: &HostName, replace: bool) -> Result<Secret, Fault> {
        let place = NodePath::host_root(host);
        let mut claims = Claims::new(host.as_str(), HOST_SPEC, clock::now_ms() / 1000);
        claims.path = Some(place.clone());
        claims.nonce = Some(self.0.chance.draw()?);
        let minted = token::mint(&self.0.key, &claims)
            .map_err(|error| Fault::new(homestak_protocol::fault::Code::Internal, error.to_string()))?;
        let token = Secret::new(minted);
        self.core().expect(place, token.clone(), replace).await?;
        Ok(token)
    }

    /// Whether an agent of this host has a place here, and whether it is there.
    pub async fn host(&self, host: &HostName) -> Result<Option<bool>, Fault> {
        let place = NodePath::host_root(host);
        let hosts = self.core().hosts().await?;
        Ok(hosts.into_iter().find(|(path, _)| *path == place).map(|(_, there)| there))
    }

    /// Takes an agent's certificate away.
    pub async fn revoke(&self, path: &NodePath) -> Result<(), Refusal> {
        tracing::info!(%path, "an agent's identity is revoked on request");
        self.core().revoke(path.clone()).await.map_err(|fault| refuse(&fault))
    }

    /// What the host at this place is, its API token included: its own agent is asked.
    pub async fn describe(&self, at: &NodePath) -> Result<PveHost, Refusal> {
        tracing::info!(%at, "a host is asked for its description and its API token");
        self.core().describe(at.clone()).await.map_err(|fault| refuse(&fault))
    }

    /// Takes over what a host's agent knows of our trees.
    pub async fn adopt(&self, host: &HostName) -> Result<StatusDocument, Refusal> {
        self.host_is_there(host).await?;
        let _nothing_begins = self.0.beginning.lock().await;
        let place = NodePath::host_root(host);
        let surveyed = self.core().survey(place.clone()).await.map_err(|fault| refuse(&fault))?;
        let site = self.store().site();
        let (ours, others): (Vec<_>, Vec<_>) = surveyed.into_iter().partition(|found| found.tree.site == site);
        for other in others {
            tracing::warn!(tree = %other.tree, site = %other.tree.site, "a tree of another site is left alone");
        }
        self.core().adopt(place, ours.clone()).await.map_err(|fault| refuse(&fault))?;
        for found in ours {
            let name = &found.tree.manifest;
            let former = self.recorded(host, name).await?;
            if found.nodes.is_empty() {
                self.forget_if_gone(host, name).await.map_err(|fault| refuse(&fault))?;
                continue;
            }
            let mut row = former.unwrap_or_else(|| TreeRow {
                host: host.clone(),
                manifest: name.clone(),
                file: None,
                nodes: Vec::new(),
            });
            for view in outcome::arrange(Some(&row.clone()), found.nodes) {
                if !row.nodes.iter().any(|node| node.path == view.path) {
                    row.nodes.push(only_seen(&view));
                }
            }
            tracing::info!(tree = %found.tree, generation = %found.generation, "a tree is taken over from its host");
            self.store().put_tree(row).await.map_err(|error| refuse(&error.fault()))?;
        }
        self.status(None, Some(host)).await
    }
}
