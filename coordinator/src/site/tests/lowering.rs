//! Manifests of the harbour, lowered: each node's order has what that node and its descendants need, and nothing more.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use homestak_manifests::{Graph, Manifest, parse};
use homestak_protocol::ids::{Generation, RunId, SiteId};
use homestak_protocol::name::HostName;
use homestak_protocol::order::{ChildOrder, Configuration, OpaqueOrder, Order, Policy};
use homestak_protocol::path::TreeId;
use homestak_protocol::token;

use super::harbour::Harbour;
use crate::lower::{Chance, LimitOverrides, Ordering, Resolved, order, resolve};
use crate::site::*;

fn manifest(site: &Site, name: &str) -> Manifest {
    let (file, text) = site.manifest(name).unwrap();
    parse(&file, &text, Some(&site.known())).unwrap().manifest
}

fn lower(site: &Site, name: &str, host: &str) -> Resolved {
    resolve(site, &manifest(site, name), &HostName::parse(host).unwrap()).unwrap()
}

fn children(site: &Site, name: &str) -> Vec<ChildOrder> {
    let manifest = manifest(site, name);
    let host = HostName::parse("pier").unwrap();
    let tree = TreeId { site: SiteId::from_bits(1), host: host.clone(), manifest: manifest.name.clone() };
    let key = site.signing_key().unwrap().unwrap();
    let with = Ordering {
        tree: &tree,
        run: RunId::from_bits(2),
        generation: Generation(3),
        policy: Policy::default(),
        limits: LimitOverrides::default(),
        timeout_buffer: 0,
        key,
        now_s: 1_700_000_000,
        chance: &Chance::Counted(Arc::new(AtomicU64::new(1))),
        plain: &Default::default(),
    };
    open(&order(&with, resolve(site, &manifest, &host).unwrap()).unwrap().order).children
}

fn open(order: &OpaqueOrder) -> Order {
    order.open().unwrap()
}

#[test]
fn a_nodes_disk_its_mode_and_its_place_survive_whatever_the_order_of_the_file() {
    let site = Harbour::new().site();
    let nodes = lower(&site, "lighthouse", "pier").nodes;
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["rock", "lamp", "store"], "parents first, though the file has a child first");
    assert_eq!(nodes[0].planned.machine.disk_gib, 120, "the node's disk, not its preset's 90");
    assert_eq!((nodes[1].planned.machine.disk_gib, nodes[1].planned.machine.memory_mib), (6, 768));
    // The manifest's mode holds on every level, but for the PVE host.
    assert!(matches!(nodes[0].configuration, Configuration::Push(_)));
    assert!(matches!(nodes[1].configuration, Configuration::Pull(_)));
    assert!(matches!(nodes[2].configuration, Configuration::Pull(_)));
}

#[test]
fn levels_are_cut_as_levels() {
    let site = Harbour::new().site();
    let manifest = manifest(&site, "lighthouse");
    let cut = Graph::new(&manifest).unwrap().first_levels(NonZeroUsize::MIN);
    let names: Vec<&str> = cut.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["rock"]);
}

#[test]
fn a_vmid_is_counted_from_the_nearest_base_and_left_to_the_host_where_there_is_none() {
    let harbour = Harbour::new();
    let vmids = |site: &Site, host: &str| -> Vec<Option<u32>> {
        let nodes = lower(site, "lighthouse", host).nodes;
        nodes.iter().map(|node| node.planned.machine.vmid.map(|vmid| vmid.number())).collect()
    };
    // rock is the second of the file and on pier, whose file has a base; what it carries counts from the site's.
    assert_eq!(vmids(&harbour.site(), "pier"), [Some(42_001), Some(41_000), Some(43_210)]);
    assert_eq!(vmids(&harbour.site(), "local"), [Some(41_001), Some(41_000), Some(43_210)]);
    harbour.write("site.yaml", "defaults: {server_url: \"\"}\n");
    assert_eq!(vmids(&harbour.site(), "local"), [None, None, Some(43_210)]);
}

#[test]
fn a_first_boot_is_told_the_user_the_keys_the_hash_and_the_packages_of_all_and_of_its_preset() {
    let site = Harbour::new().site();
    let nodes = lower(&site, "lighthouse", "pier").nodes;
    let (rock, lamp, store) = (&nodes[0].cloud_init, &nodes[1].cloud_init, &nodes[2].cloud_init);
    assert_eq!(rock.user.as_deref(), Some("keeper"));
    assert_eq!(rock.packages, ["qemu-guest-agent", "curl", "rsync", "lsof", "iotop"]);
    assert_eq!(store.packages, ["curl", "rsync", "lsof"], "a container has no guest agent");
    assert!(rock.ssh_keys.len() == 3 && rock.ssh_keys[0].ends_with("zora@tower"));
    assert!(rock.root_password_hash.is_some());
    assert_eq!((rock.address.as_deref(), rock.gateway.as_deref()), (None, Some("192.0.2.1")));
    assert_eq!((lamp.address.as_deref(), lamp.gateway.as_deref()), (Some("192.0.2.77/24"), Some("192.0.2.2")));
    assert_eq!(lamp.dns_servers, ["192.0.2.53", "2001:db8::53"]);
    let bridge = |index: usize| nodes[index].planned.machine.bridge.as_deref();
    assert_eq!((bridge(0), bridge(1)), (Some("vmbr1"), Some("vmbr9")));
}

#[test]
fn what_is_fetched_is_what_would_have_been_pushed_posture_and_all() {
    let site = Harbour::new().site();
    let rock = &children(&site, "lighthouse")[0];
    let lamp = &open(&rock.order).children[0];
    let own = open(&lamp.order).own.unwrap();
    let Configuration::Pull(spec) = own.configuration else { panic!("lamp pulls") };
    let document: serde_json::Value = serde_json::from_str(&spec.document).unwrap();
    assert_eq!(document["access"]["security"]["fail2ban"]["enabled"], true);
    assert_eq!(document["access"]["security"]["ssh"]["port"], 2200);
    assert_eq!(document["identity"]["hostname"], "lamp");
}

#[test]
fn tokens_are_signed_with_the_sites_key() {
    let site = Harbour::new().site();
    let rock = &children(&site, "lighthouse")[0];
    let claims = token::verify(site.signing_key().unwrap().unwrap(), rock.token.expose()).unwrap();
    assert_eq!((claims.node.as_str(), claims.spec.as_str()), ("rock", "pve"));
    assert_eq!(claims.path.unwrap().as_str(), "pier/lighthouse/rock");
}

#[test]
fn an_order_holds_no_api_token_no_signing_key_and_no_secret_of_a_sibling() {
    let site = Harbour::new().site();
    let rock = &children(&site, "lighthouse")[0];
    let inside = open(&rock.order);
    let (lamp, store) = (&inside.children[0], &inside.children[1]);
    let bytes =
        serde_json::to_string(&(&rock.machine, &rock.cloud_init, &inside, open(&lamp.order), open(&store.order)));
    let whole = bytes.unwrap();
    assert!(!whole.contains("harbour=1111") && !whole.contains("7a1e0c55"), "{whole}");
    // What lamp reads has nothing of store in it, and the other way round.
    let of_lamp = serde_json::to_string(&open(&lamp.order)).unwrap();
    assert!(!of_lamp.contains(store.token.expose()) && !of_lamp.contains("\"store\""));
}
