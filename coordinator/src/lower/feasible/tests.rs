//! What fits, what is tight, what cannot work.

use homestak_manifests::parse;
use homestak_protocol::name::HostName;
use proptest::prelude::*;

use super::*;
use crate::lower::resolve;
use crate::settings::SiteChoice;
use crate::site::Site;
use crate::site::secrets::Keys;

fn facts() -> Facts {
    Facts {
        hostname: "father".into(),
        os: "Debian GNU/Linux 13".into(),
        kernel: "6.14.8-2-pve".into(),
        arch: "x86_64".into(),
        cores: 8,
        memory_mib: 32_768,
        memory_free_mib: 30_000,
        disk_gib: 500,
        disk_free_gib: 400,
        load_milli: 0,
        nested: true,
    }
}

fn settled(nodes: &str) -> Resolved {
    let site = Site::open(&SiteChoice::Demo, &Keys::default()).unwrap();
    let text = format!("schema_version: 2\nname: tree\nnodes:\n{nodes}");
    let manifest = parse("tree.yaml", &text, None).unwrap().manifest;
    resolve(&site, &manifest, &HostName::parse("father").unwrap()).unwrap()
}

fn codes(nodes: &str, ground: &Ground<'_>) -> Vec<&'static str> {
    let host = NodePath::host_root(&HostName::parse("father").unwrap());
    let all = findings(&settled(nodes), &host, ground);
    assert!(all.iter().all(|finding| !finding.hint.is_empty()), "{all:?}");
    all.iter().map(|finding| finding.code.as_str()).collect()
}

fn carrying(carrier: &str, children: &[&str]) -> String {
    let mut text = format!("  - {{name: a, type: pve, image: debian-12, {carrier}}}\n");
    for (at, child) in children.iter().enumerate() {
        text.push_str(&format!("  - {{name: c{at}, type: vm, image: debian-12, parent: a, {child}}}\n"));
    }
    text
}

#[test]
fn a_level_is_measured_against_the_machine_that_carries_it() {
    let (facts, nothing) = (facts(), Vec::new);
    let ground = || Ground { facts: Some(&facts), firm: true, others: nothing(), there: Vec::new() };
    for (carrier, children, expected) in [
        ("preset: vm-large", vec!["preset: vm-small"], vec![]),
        ("preset: vm-large", vec!["preset: vm-medium", "preset: vm-small", "preset: vm-xsmall"], vec!["W682"]),
        ("preset: vm-large, disk: 64", vec!["preset: vm-medium", "preset: vm-medium"], vec!["W680"]),
        (
            "preset: vm-large, disk: 64",
            vec!["preset: vm-medium", "preset: vm-medium", "preset: vm-small"],
            vec!["E680"],
        ),
        ("preset: vm-large, disk: 99", vec!["preset: vm-xlarge"], vec!["E680", "E681"]),
        ("preset: vm-large", vec!["preset: vm-small, disk: 50"], vec!["E682"]),
    ] {
        assert_eq!(codes(&carrying(carrier, &children), &ground()), expected, "{carrier}: {children:?}");
    }
}

#[test]
fn the_first_level_is_measured_against_the_host() {
    let nodes = "  - {name: a, type: vm, image: debian-12, preset: vm-xlarge}\n";
    let with = |change: fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        codes(nodes, &Ground { facts: Some(&facts), firm: true, ..Ground::default() })
    };
    assert!(with(|_| {}).is_empty());
    assert_eq!(with(|facts| facts.memory_mib = 16_000), ["E680"]);
    assert_eq!(with(|facts| facts.memory_free_mib = 16_000), ["W680"]);
    assert_eq!(with(|facts| facts.cores = 4), ["E681"]);
    assert_eq!(with(|facts| facts.disk_free_gib = 79), ["W682"]);
    let facts = Facts { memory_free_mib: 0, disk_free_gib: 0, ..facts() };
    let there = settled(nodes).nodes.iter().map(|node| node.planned.path.clone()).collect();
    assert!(codes(nodes, &Ground { facts: Some(&facts), firm: true, there, ..Ground::default() }).is_empty());
}

#[test]
fn machines_in_machines_need_a_host_that_allows_them() {
    let facts = Facts { nested: false, ..facts() };
    let ground = || Ground { facts: Some(&facts), firm: true, ..Ground::default() };
    assert_eq!(codes(&carrying("preset: vm-large", &["preset: vm-small"]), &ground()), ["E683"]);
    assert!(codes(&carrying("preset: vm-large", &[]), &ground()).is_empty());
    let container = "  - {name: a, type: pve, image: debian-12, preset: vm-large}\n  - {name: c, type: ct, parent: a, preset: vm-small}\n";
    assert!(codes(container, &ground()).is_empty(), "containers need no virtualization");
}

#[test]
fn where_nothing_is_real_nothing_is_refused() {
    let facts = Facts { nested: false, memory_mib: 1, ..facts() };
    let ground = Ground { facts: Some(&facts), firm: false, ..Ground::default() };
    assert_eq!(codes(&carrying("preset: vm-xsmall", &["preset: vm-large"]), &ground), ["W680", "W681", "W682"]);
}

#[test]
fn ids_that_meet_and_names_that_others_have_are_told() {
    let text = "  - {name: a, type: vm, image: debian-12, vmid: 20001}\n  - {name: b, type: vm, image: debian-12}\n";
    let site = Site::open(&SiteChoice::Demo, &Keys::default()).unwrap();
    let text = format!("schema_version: 2\nname: tree\nsettings: {{vmid_base: 20000}}\nnodes:\n{text}");
    let manifest = parse("tree.yaml", &text, None).map(|parsed| parsed.manifest);
    let host = NodePath::host_root(&HostName::parse("father").unwrap());
    // The manifest itself refuses what it can see; what a site's base makes of it is seen here.
    if let Ok(manifest) = manifest {
        let resolved = resolve(&site, &manifest, &HostName::parse("father").unwrap()).unwrap();
        assert!(findings(&resolved, &host, &Ground::default()).iter().any(|finding| finding.code == Code::VmidTaken));
    }
    let named = "  - {name: a, type: vm, image: debian-12, preset: vm-small}\n";
    let other =
        || Other { who: "father/other/a, of the tree father/other".into(), address: None, name: Some("a".into()) };
    assert_eq!(codes(named, &Ground { firm: true, others: vec![other()], ..Ground::default() }), ["E686"]);
    assert!(codes(named, &Ground { others: vec![other()], ..Ground::default() }).is_empty());
}

#[test]
fn an_address_is_one_machines() {
    let host = NodePath::host_root(&HostName::parse("father").unwrap());
    let mut resolved =
        settled("  - {name: a, type: vm, image: debian-12}\n  - {name: b, type: vm, image: debian-12}\n");
    resolved.nodes.iter_mut().for_each(|node| node.cloud_init.address = Some("192.0.2.7/24".into()));
    let others = vec![Other { who: "the host attic".into(), address: Some("192.0.2.7".into()), name: None }];
    let all = findings(&resolved, &host, &Ground { firm: true, others, ..Ground::default() });
    assert_eq!(all.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["E684"; 3], "{all:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What is refused for want of room is more than there is, and more room never makes it worse.
    #[test]
    fn more_room_is_never_worse(children in prop::collection::vec((1_u64..9_000, 1_u32..9, 1_u64..90), 1..6),
                                memory in 512_u64..40_000, cores in 1_u32..16, disk in 1_u64..400) {
        let mut resolved = settled(&carrying("preset: vm-large", &vec!["preset: vm-small"; children.len()]));
        let host = NodePath::host_root(&HostName::parse("father").unwrap());
        for (node, (memory, cores, disk)) in resolved.nodes.iter_mut().skip(1).zip(&children) {
            (node.planned.machine.memory_mib, node.planned.machine.cores, node.planned.machine.disk_gib) = (*memory, *cores, *disk);
        }
        let mut errors = |memory: u64, cores: u32, disk: u64| {
            let machine = &mut resolved.nodes[0].planned.machine;
            (machine.memory_mib, machine.cores, machine.disk_gib) = (memory, cores, disk);
            let all = findings(&resolved, &host, &Ground { firm: true, ..Ground::default() });
            (all.iter().filter(|finding| finding.is_error()).count(), all.len())
        };
        let (before, all) = errors(memory, cores, disk);
        let sum: u64 = children.iter().map(|child| child.0).sum();
        prop_assert!(before > 0 || sum <= memory);
        let (after, more) = errors(memory * 2, cores * 2, disk * 2);
        prop_assert!(after <= before && (more <= all || before > 0));
    }
}
