//! Looking before leaping: whether a host is ready, and whether a tree can stand on it.

use homestak_manifests::diagnostic::Severity;
use homestak_protocol::event::{NodeView, Presence};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::HostName;
use homestak_protocol::path::{NodePath, TreeId};

use super::api::{self, Ask};
use super::{Engine, Reach, refuse};
use crate::api::{Exit, Refusal};
use crate::documents::{CheckStatus, ErrorDocument, PreflightDocument};
use crate::lower::feasible::{self, Finding, Ground, Other};
use crate::lower::{Resolved, may_exist};
use crate::preflight::{self, Seen};
use crate::site::hosts::Asked;
use crate::store::Record;

/// How PVE's kernels are called: `6.14.8-2-pve`. Machines of a host with another one are not PVE's, and take no real room.
const PVE_KERNEL: &str = "-pve";

impl<R: Record, C: Reach> Engine<R, C> {
    /// Examines a host, whose agent has some time to come.
    pub async fn preflight(&self, host: &HostName, broken: Option<String>) -> Result<PreflightDocument, Refusal> {
        // Told below, as one of the checks.
        let _ = self.host_is_there(host).await;
        self.examine(host, broken, Ask::WithToken).await
    }

    async fn examine(&self, host: &HostName, broken: Option<String>, ask: Ask) -> Result<PreflightDocument, Refusal> {
        let site = self.site();
        let config = (!host.is_local()).then(|| site.host(Asked::parse(host.as_str()), ""));
        let api = api::ask(config.as_ref().and_then(|config| config.as_ref().ok()), ask).await;
        let presence = self.presence(host).await?;
        let (place, hosts) = (NodePath::host_root(host), self.core().hosts().await.map_err(|fault| refuse(&fault))?);
        let linked = hosts.iter().find(|(path, _)| *path == place).map(|(_, there)| *there);
        let trouble = self.0.troubles.borrow().get(host).cloned();
        let version = env!("CARGO_PKG_VERSION");
        let seen =
            Seen { host, site: &site, broken, config, linked, presence: presence.as_ref(), trouble, api, version };
        Ok(preflight::examine(&seen))
    }

    /// Refuses a run on a host that is not ready.
    pub(super) async fn is_ready(&self, host: &HostName) -> Result<(), Refusal> {
        let document = self.examine(host, None, Ask::WhetherThere).await?;
        let failed: Vec<String> = document
            .checks
            .iter()
            .filter(|check| check.status == CheckStatus::Failed)
            .map(|check| format!("✗ {}: {}", check.name, check.seen))
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        let message = format!("Pre-flight validation failed: {}", failed.join("; "));
        let hint = format!(
            "`homestak-coord preflight -H {host}` says what to do about each; --skip-preflight goes on without"
        );
        Err(Refusal::new(Exit::Failed, &Fault::new(Code::Host, message).hint(hint).at(&NodePath::host_root(host))))
    }

    /// Whether a settled tree can stand on its host: what is tight, a line each. Refused where it cannot work.
    pub(super) async fn can_stand(
        &self,
        tree: &TreeId,
        resolved: &Resolved,
        views: &[NodeView],
    ) -> Result<Vec<String>, Refusal> {
        let presence = self.presence(&tree.host).await?;
        let facts = presence.as_ref().filter(|presence| presence.connected).map(|presence| &presence.facts);
        let real = facts.is_none_or(|facts| facts.kernel.ends_with(PVE_KERNEL));
        let there = views.iter().filter(|view| may_exist(view)).map(|view| view.path.clone()).collect();
        let others = self.others_on(tree).await?;
        let ground = Ground { facts, firm: real && !tree.host.is_local(), others, there };
        let findings = feasible::findings(resolved, &NodePath::host_root(&tree.host), &ground);
        let (errors, warnings): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|finding| finding.severity == Severity::Error);
        match errors.as_slice() {
            [] => Ok(warnings.into_iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect()),
            [first, rest @ ..] => {
                let more = rest.iter().map(|finding| format!("; {}", finding.message)).collect::<String>();
                let error = ErrorDocument {
                    code: first.code.as_str().into(),
                    message: format!("{}{more}", first.message),
                    hint: Some(first.hint.clone()),
                    node: Some(first.path.to_string()),
                };
                Err(Refusal { exit: Exit::Configuration, error: Box::new(error), diagnostics: Vec::new() })
            }
        }
    }

    /// What hosts of the site and other recorded trees have on a host.
    async fn others_on(&self, tree: &TreeId) -> Result<Vec<Other>, Refusal> {
        let site = self.site();
        let mut others = Vec::new();
        for name in site.hosts() {
            let Ok(host) = site.host(Asked::parse(name.as_str()), "") else { continue };
            let address = (!host.ip.is_empty()).then(|| host.ip.clone());
            others.push(Other { who: format!("the host {name}"), address, name: None });
        }
        for snapshot in self.core().trees().await.map_err(|fault| refuse(&fault))? {
            if snapshot.tree.host != tree.host || snapshot.tree.manifest == tree.manifest {
                continue;
            }
            for view in snapshot.nodes.iter().filter(|view| may_exist(view)) {
                others.push(Other {
                    who: format!("{}, of the tree {}", view.path, snapshot.tree),
                    address: view.ip.map(|ip| ip.to_string()),
                    name: (view.path.depth() == 1).then(|| view.path.name().to_owned()),
                });
            }
        }
        Ok(others)
    }

    async fn presence(&self, host: &HostName) -> Result<Option<Presence>, Refusal> {
        let place = NodePath::host_root(host);
        let agents = self.core().agents().await.map_err(|fault| refuse(&fault))?;
        Ok(agents.into_iter().find(|presence| presence.path == place))
    }
}
