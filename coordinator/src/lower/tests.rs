//! What lowering and plans promise, on the catalogue, the demo site and small manifests.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use homestak_manifests::{catalog, parse};
use homestak_node::runtime::RootOrder;
use homestak_protocol::event::{Action, NodeView, Status};
use homestak_protocol::ids::{Generation, RunId, SiteId};
use homestak_protocol::name::ManifestName;
use homestak_protocol::order::{OpaqueOrder, Order, Policy};
use homestak_protocol::path::TreeId;
use homestak_protocol::token::{self, SigningKey};

use super::*;
use crate::settings::SiteChoice;
use crate::site::secrets::Keys;
use crate::store::TreeRow;

fn site() -> Site {
    Site::open(&SiteChoice::Demo, &Keys::default()).unwrap()
}

fn manifest(text: &str) -> Manifest {
    parse("test.yaml", text, Some(&site().known())).map_err(|errors| errors[0].to_string()).unwrap().manifest
}

fn key() -> SigningKey {
    SigningKey::from_bytes([1; 32])
}

fn lower(manifest: &Manifest) -> (Resolved, RootOrder) {
    let host = HostName::local();
    let tree = TreeId { site: SiteId::from_bits(1), host: host.clone(), manifest: manifest.name.clone() };
    let with = Ordering {
        tree: &tree,
        run: RunId::from_bits(2),
        generation: Generation(3),
        policy: Policy::default(),
        limits: LimitOverrides::default(),
        timeout_buffer: manifest.settings.timeout_buffer,
        key: &key(),
        now_s: 1_700_000_000,
        chance: &Chance::Counted(Arc::new(AtomicU64::new(1))),
        plain: &Default::default(),
    };
    let again = || resolve(&site(), manifest, &host).unwrap();
    (again(), order(&with, again()).unwrap())
}

/// An order as its addressees read it, each in turn.
fn show(order: &OpaqueOrder, indent: usize, out: &mut String) {
    let Order { path, policy, own, children, generation, .. } = order.open().unwrap();
    let pad = "  ".repeat(indent);
    let limits = policy.limits;
    writeln!(
        out,
        "{pad}order for {path}, generation {generation}, provision {} s, grace {} s",
        limits.provision.0 / 1000,
        limits.grace.0 / 1000
    )
    .unwrap();
    if let Some(own) = own {
        let configuration = match &own.configuration {
            Configuration::Nothing => "nothing".to_owned(),
            Configuration::Push(spec) => format!("push {}", spec.name),
            Configuration::Pull(spec) => format!("pull {}", spec.name),
        };
        writeln!(out, "{pad}  own: {configuration}").unwrap();
    }
    for child in children {
        let m = &child.machine;
        let image = m.image.as_ref().map_or("-", |i| i.as_str());
        let vmid = m.vmid.map_or("-".to_owned(), |v| v.to_string());
        writeln!(
            out,
            "{pad}  make {} {}: {image}, {} cores, {} MiB, {} GiB, vmid {vmid}, on {}",
            m.kind,
            child.name,
            m.cores,
            m.memory_mib,
            m.disk_gib,
            m.bridge.as_deref().unwrap_or("-")
        )
        .unwrap();
        let claims = token::verify(&key(), child.token.expose()).unwrap();
        writeln!(
            out,
            "{pad}    token: n {} s {} p {} j {:x}",
            claims.node,
            claims.spec,
            claims.path.unwrap(),
            claims.nonce.unwrap()
        )
        .unwrap();
        show(&child.order, indent + 2, out);
    }
}

#[test]
fn every_manifest_of_the_catalogue_comes_to_the_orders_that_it_should() {
    for entry in catalog::ENTRIES {
        let manifest = manifest(entry.text);
        let (resolved, root) = lower(&manifest);
        let mut shown = String::new();
        for view in &root.nodes {
            writeln!(shown, "{} {} {}", view.path, view.kind, view.status).unwrap();
        }
        for note in resolved.notes {
            writeln!(shown, "note: {note}").unwrap();
        }
        show(&root.order, 0, &mut shown);
        insta::assert_snapshot!(entry.name, shown);
    }
}

#[test]
fn a_nodes_disk_beats_its_presets_and_a_node_without_preset_takes_the_usual_one() {
    let manifest = manifest(
        "{schema_version: 2, name: m, nodes: [
            {name: a, type: vm, preset: vm-large, image: debian-12, disk: 64},
            {name: b, type: ct}]}",
    );
    let (resolved, _) = lower(&manifest);
    let sizes: Vec<_> = resolved.nodes.iter().map(|n| (n.planned.machine.cores, n.planned.machine.disk_gib)).collect();
    assert_eq!(sizes, [(4, 64), (2, 10)]);
}

#[test]
fn a_vmid_is_the_nodes_own_else_counted_from_the_base_else_left_to_the_host() {
    let nodes = "nodes: [{name: a, type: ct}, {name: b, type: ct, vmid: 20000}, {name: c, type: ct}]";
    let vmids = |settings: &str| {
        let manifest = manifest(&format!("{{schema_version: 2, name: m, {settings} {nodes}}}"));
        let (resolved, _) = lower(&manifest);
        resolved.nodes.iter().map(|n| n.planned.machine.vmid.map(|v| v.number())).collect::<Vec<_>>()
    };
    assert_eq!(vmids("settings: {vmid_base: 30000},"), [Some(30000), Some(20000), Some(30002)]);
    assert_eq!(vmids(""), [None, Some(20000), None]);
}

#[test]
fn tokens_of_one_order_are_all_different() {
    let (_, root) = lower(&manifest(catalog::find("flat-3").unwrap().text));
    let mut tokens: Vec<_> = root.order.open().unwrap().children.iter().map(|c| c.token.expose().to_owned()).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

const TWO: &str = "{schema_version: 2, name: m, nodes: [
    {name: root, type: pve, preset: vm-large, image: pve-9, vmid: 10001},
    {name: edge, type: vm, preset: vm-small, image: debian-12, parent: root}]}";

fn views(root: &RootOrder, status: Status) -> Vec<NodeView> {
    let vmid = Vmid::new(10001);
    let mut views: Vec<_> = root.nodes.iter().cloned().map(|view| NodeView { status, ..view }).collect();
    views[0].vmid = vmid;
    views
}

fn row(resolved: &Resolved) -> TreeRow {
    TreeRow {
        host: HostName::local(),
        manifest: ManifestName::parse("m").unwrap(),
        file: None,
        nodes: resolved.nodes.iter().map(|n| n.planned.clone()).collect(),
    }
}

fn planned(
    text: &str,
    tree: Option<&TreeRow>,
    views: &[NodeView],
    prune: bool,
) -> (Vec<(String, Action, Option<String>)>, u32) {
    let (resolved, _) = lower(&manifest(text));
    let wanted: Vec<_> = resolved.nodes.into_iter().map(|n| n.planned).collect();
    let comparison = compare(&wanted, tree, views, prune);
    let shown = |p: Planned| (p.node.path.name().to_owned(), p.action, p.reason);
    (comparison.nodes.into_iter().map(shown).collect(), comparison.changes)
}

#[test]
fn a_first_plan_creates_everything_and_what_lies_below_is_known_later() {
    let (resolved, _) = lower(&manifest(TWO));
    let wanted: Vec<_> = resolved.nodes.iter().map(|n| n.planned.clone()).collect();
    let comparison = compare(&wanted, None, &[], false);
    assert_eq!(comparison.changes, 2);
    assert!(comparison.nodes.iter().all(|n| n.action == Action::Created));
    let after: Vec<_> = comparison.nodes.iter().map(|n| n.known_after.as_ref().map(|p| p.as_str())).collect();
    assert_eq!(after, [None, Some("local/m/root")]);
}

#[test]
fn a_plan_of_what_is_there_changes_nothing() {
    let (resolved, root) = lower(&manifest(TWO));
    let (nodes, changes) = planned(TWO, Some(&row(&resolved)), &views(&root, Status::Completed), false);
    assert_eq!(changes, 0);
    assert!(nodes.iter().all(|(_, action, _)| *action == Action::Unchanged), "{nodes:?}");
}

#[test]
fn a_plan_says_what_would_be_updated_and_why() {
    let (resolved, root) = lower(&manifest(TWO));
    let edited = TWO.replace("vm-small", "vm-medium").replace("vmid: 10001", "vmid: 10002");
    let (nodes, changes) = planned(&edited, Some(&row(&resolved)), &views(&root, Status::Completed), false);
    assert_eq!(changes, 2);
    assert_eq!(nodes[0], ("root".into(), Action::Updated, Some("vmid 10001 → 10002".into())));
    let reason = "memory 2048 MiB → 4096 MiB, disk 10 GiB → 20 GiB";
    assert_eq!(nodes[1], ("edge".into(), Action::Updated, Some(reason.into())));
    // What failed is looked at again, though nothing was edited.
    let (nodes, _) = planned(TWO, Some(&row(&resolved)), &views(&root, Status::Failed), false);
    assert_eq!(nodes[0].2.as_deref(), Some("it is failed"));
    // A node that nobody had begun with is made.
    let (nodes, _) = planned(TWO, Some(&row(&resolved)), &views(&root, Status::Skipped), false);
    assert_eq!(nodes[1].1, Action::Created);
}

#[test]
fn a_node_that_is_no_longer_named_is_an_orphan_and_pruned_on_request() {
    let (resolved, root) = lower(&manifest(TWO));
    let edited = TWO.replace("name: edge", "name: other");
    let views = views(&root, Status::Completed);
    let (nodes, changes) = planned(&edited, Some(&row(&resolved)), &views, false);
    let actions: Vec<_> = nodes.iter().map(|(name, action, _)| (name.as_str(), *action)).collect();
    assert_eq!(actions, [("root", Action::Unchanged), ("other", Action::Created), ("edge", Action::Orphaned)]);
    assert_eq!(changes, 1);
    let (nodes, changes) = planned(&edited, Some(&row(&resolved)), &views, true);
    assert_eq!((nodes[2].1, changes), (Action::Destroyed, 2));
    // One that is gone is nobody's orphan.
    let gone: Vec<_> = views.iter().cloned().map(|v| NodeView { status: Status::Destroyed, ..v }).collect();
    let (nodes, _) = planned(&edited, Some(&row(&resolved)), &gone, false);
    assert_eq!(nodes.len(), 2);
}
