//! What a verb would do.

use std::collections::{BTreeMap, HashMap};

use homestak_node::core::unseen;
use homestak_protocol::event::{Action, Status};
use homestak_protocol::ids::Generation;
use homestak_protocol::path::NodePath;

use super::begin::must_be_new;
use super::{Engine, Reach, outcome, refuse, resolved};
use crate::api::{Refusal, RunRequest, RunVerb};
use crate::documents::{ImageSourceDocument, NodeDocument, PlanDocument};
use crate::lower::{self, Comparison, Planned, may_exist};
use crate::store::{PlannedNode, Record};

impl<R: Record, C: Reach> Engine<R, C> {
    /// Says what a verb would do, and does nothing.
    pub async fn plan(&self, verb: RunVerb, request: &RunRequest) -> Result<PlanDocument, Refusal> {
        match verb {
            RunVerb::Destroy => self.plan_destroy(request).await,
            RunVerb::Apply | RunVerb::Test => self.plan_build(verb, request).await,
        }
    }

    async fn plan_build(&self, verb: RunVerb, request: &RunRequest) -> Result<PlanDocument, Refusal> {
        let ready = self.ready(request).await?;
        self.host_is_known(&request.host).await?;
        let name = &ready.found.manifest.name;
        let tree = self.tree_id(&request.host, name);
        let snapshot = self.core().tree(tree.clone()).await.map_err(|fault| refuse(&fault))?;
        let views = snapshot.map(|snapshot| snapshot.nodes).unwrap_or_default();
        if verb == RunVerb::Test {
            must_be_new(&tree, &views)?;
        }
        let former = self.recorded(&request.host, name).await?;
        let wanted: Vec<PlannedNode> = ready.resolved.nodes.iter().map(|node| node.planned.clone()).collect();
        let mut comparison = lower::compare(&wanted, former.as_ref(), &views, request.prune);
        self.meets_no_other(&tree, &comparison, request.prune).await?;
        let (mut sight, mut unasked) = self.look_at(&tree, &views).await;
        unasked.extend(self.compare_at(&tree, &ready.resolved, &mut sight).await);
        sight.correct(&mut comparison);
        let mut sources = self.image_sources(&tree, &ready.resolved, &comparison, &sight).await;
        let missing = missing_images(&comparison, &sources);
        let resolved: HashMap<_, _> =
            ready.resolved.nodes.iter().map(|node| (&node.planned.path, resolved::document(node))).collect();
        self.can_be_carried(&ready.resolved).await?;
        let tight = self.can_stand(&tree, &ready.resolved, &views).await?;
        let mut document = |planned: &Planned| {
            let path = &planned.node.path;
            let view = views.iter().find(|view| view.path == *path && may_exist(view));
            let unseen = || unseen(path, planned.node.kind, Generation::default());
            let mut node = outcome::document(&view.cloned().unwrap_or_else(unseen));
            let chosen = planned.node.machine.vmid.map(|vmid| vmid.number());
            node.kind = planned.node.kind;
            node.action = planned.action;
            node.vm_id = chosen.or(node.vm_id).or(sight.vmid(path).map(|vmid| vmid.number()));
            node.reason.clone_from(&planned.reason);
            node.image_source = sources.remove(path).map(Box::new);
            node.resolved = resolved.get(path).cloned().map(Box::new);
            node.known_after = planned.known_after.as_ref().map(ToString::to_string);
            only_planned(node)
        };
        let mut notes: Vec<String> =
            ready.found.warnings.iter().map(|w| format!("{}:{}: {}", w.file, w.line, w.message)).collect();
        notes.extend(ready.resolved.notes.iter().cloned());
        notes.extend(tight);
        notes.extend(unasked);
        notes.extend(missing);
        Ok(PlanDocument {
            verb: "plan".into(),
            plans: verb,
            manifest: name.to_string(),
            host: request.host.to_string(),
            nodes: comparison.nodes.iter().map(&mut document).collect(),
            changes: comparison.changes,
            notes,
            error: None,
        })
    }

    async fn plan_destroy(&self, request: &RunRequest) -> Result<PlanDocument, Refusal> {
        let name = self.tree_name(&request.host, &request.manifest).await?;
        let row = self.recorded(&request.host, &name).await?;
        let snapshot = self.core().tree(self.tree_id(&request.host, &name)).await.map_err(|fault| refuse(&fault))?;
        let views = snapshot.map(|snapshot| snapshot.nodes).unwrap_or_default();
        let views = outcome::arrange(row.as_ref(), views.into_iter().filter(|v| !v.status.is_gone()).collect());
        let nodes: Vec<_> = views
            .iter()
            .map(|view| {
                let mut node = outcome::document(view);
                node.action = if may_exist(view) { Action::Destroyed } else { Action::None };
                only_planned(node)
            })
            .collect();
        let changes = nodes.iter().filter(|node| node.action == Action::Destroyed).count();
        Ok(PlanDocument {
            verb: "plan".into(),
            plans: RunVerb::Destroy,
            manifest: name.to_string(),
            host: request.host.to_string(),
            nodes,
            changes: u32::try_from(changes).unwrap_or(u32::MAX),
            notes: Vec::new(),
            error: None,
        })
    }
}

/// Images that nobody has: an apply fails for want of them.
fn missing_images(comparison: &Comparison, sources: &BTreeMap<NodePath, ImageSourceDocument>) -> Option<String> {
    let wanting = comparison.nodes.iter().filter(|planned| {
        sources.get(&planned.node.path).is_some_and(|source| *source == ImageSourceDocument::Missing)
    });
    let names: Vec<String> = wanting
        .filter_map(|planned| Some(format!("{} ({})", planned.node.path.name(), planned.node.machine.image.as_ref()?)))
        .collect();
    let all = names.join(", ");
    (!names.is_empty()).then(|| format!("no host has the image of {all}, and `images:` in site.yaml does not name it"))
}

/// A plan says nothing about what earlier runs did, except where they left a node that is not well.
fn only_planned(mut node: NodeDocument) -> NodeDocument {
    node.duration = None;
    node.phases.clear();
    if node.status == Status::Completed {
        node.error = None;
    }
    node
}
