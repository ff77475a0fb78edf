//! Promises that hold for every tree: over random ones, what must be true of orders, parts and drawings.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};

use homestak_manifests::model::{Mode, Node, NodeKind, OnError, Pattern, Settings};
use homestak_manifests::{Graph, Manifest, draw, parse};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{HostName, ManifestName, NodeName, SiteName};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Words that some reader of YAML takes for something else than text.
const TRICKY: [&str; 10] = ["null", "true", "no", "on", "y", "n", "yes", "off", "false", "e3"];

fn node_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z][a-z0-9-]{0,12}", 1 => proptest::sample::select(&TRICKY[..]).prop_map(str::to_owned)]
}

fn site_name() -> impl Strategy<Value = SiteName> {
    let tricky = vec!["0640", "1.5", "1e3", "NULL", "2024-01-01", "0x1f", "No", "1_000", "7"];
    let text = prop_oneof![3 => "[A-Za-z0-9][A-Za-z0-9._-]{0,12}", 1 => proptest::sample::select(tricky).prop_map(str::to_owned)];
    text.prop_map(|text| SiteName::parse(&text).unwrap())
}

fn settings() -> impl Strategy<Value = Settings> {
    let on_error = prop_oneof![Just(OnError::Stop), Just(OnError::Rollback), Just(OnError::Continue)];
    (any::<bool>(), any::<bool>(), 0..3_600u32, on_error, option::of(500_000..600_000u32)).prop_map(
        |(verify_ssh, cleanup_on_failure, timeout_buffer, on_error, base)| Settings {
            verify_ssh,
            cleanup_on_failure,
            timeout_buffer,
            on_error,
            vmid_base: base.and_then(Vmid::new),
        },
    )
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Push), Just(Mode::Pull)]
}

prop_compose! {
    /// Everything of a node but its parent and its place in the file. The parent is drawn as a number.
    fn draft()(
        name in node_name(),
        kind in prop_oneof![3 => Just(NodeKind::Pve), 1 => Just(NodeKind::Vm), 1 => Just(NodeKind::Ct)],
        spec in option::of(site_name()),
        preset in option::of(site_name()),
        image in site_name(),
        vmid in any::<bool>(),
        disk in option::of(1..9_999u32),
        mode in option::of(mode()),
        parent in option::weighted(0.7, any::<proptest::sample::Index>()),
        place in any::<u32>(),
    ) -> (Node, bool, Option<proptest::sample::Index>, u32) {
        let name = NodeName::parse(&name).unwrap();
        let disk = disk.and_then(NonZeroU32::new);
        let image = Some(image).filter(|_| kind != NodeKind::Ct);
        (Node { name, kind, spec, preset, image, vmid: None, disk, parent: None, mode }, vmid, parent, place)
    }
}

prop_compose! {
    /// A sound manifest whose nodes stand in any order, children before parents included.
    fn manifest()(
        drafts in vec(draft(), 1..40),
        description in option::of(prop_oneof![any::<String>(), "[ -~]{0,40}"]),
        pattern in prop_oneof![Just(Pattern::Flat), Just(Pattern::Tiered)],
        default_mode in mode(),
        settings in settings(),
        name in "[a-z][a-z0-9._-]{0,12}",
    ) -> Manifest {
        let mut seen = BTreeSet::new();
        let mut placed: Vec<(u32, Node)> = Vec::new();
        for (i, (mut node, vmid, parent, place)) in drafts.into_iter().enumerate() {
            if !seen.insert(node.name.clone()) {
                continue;
            }
            let carriers: Vec<&Node> = placed.iter().map(|(_, node)| node).filter(|n| n.kind == NodeKind::Pve).collect();
            node.parent = parent.filter(|_| !carriers.is_empty()).map(|index| index.get(&carriers).name.clone());
            node.vmid = Vmid::new(99_000 + u32::try_from(i).unwrap()).filter(|_| vmid);
            placed.push((place, node));
        }
        placed.sort_by_key(|(place, _)| *place);
        let nodes = placed.into_iter().map(|(_, node)| node).collect();
        Manifest { name: ManifestName::parse(&name).unwrap(), description, pattern, default_mode, settings, nodes }
    }
}

fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.nodes.iter().map(|node| node.name.as_str()).collect()
}

/// Depth by its definition, one parent at a time.
fn depth(manifest: &Manifest, node: &Node) -> usize {
    let parent = node.parent.as_ref().map(|name| manifest.nodes.iter().find(|other| other.name == *name).unwrap());
    parent.map_or(0, |parent| depth(manifest, parent) + 1)
}

proptest! {
    #[test]
    fn parents_come_before_children_and_nobody_is_lost_or_comes_twice(manifest in manifest()) {
        let graph = Graph::new(&manifest).unwrap();
        let order: Vec<&str> = graph.create_order().map(|member| member.node().name.as_str()).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        let mut all = names(&manifest);
        all.sort_unstable();
        prop_assert_eq!(sorted, all);
        let place: BTreeMap<&str, usize> = order.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        for node in &manifest.nodes {
            if let Some(parent) = &node.parent {
                prop_assert!(place[parent.as_str()] < place[node.name.as_str()]);
            }
        }
        let mut reversed: Vec<&str> = graph.destroy_order().map(|member| member.node().name.as_str()).collect();
        reversed.reverse();
        prop_assert_eq!(order, reversed);
    }

    #[test]
    fn levels_come_one_after_the_other_each_by_parent_and_in_the_order_of_the_file(manifest in manifest()) {
        let graph = Graph::new(&manifest).unwrap();
        let mut last = (0, None, 0);
        let mut place = BTreeMap::new();
        for (at, member) in graph.create_order().enumerate() {
            prop_assert_eq!(member.depth(), depth(&manifest, member.node()));
            let parent = member.parent().map(|parent| place[parent.node().name.as_str()]);
            let this = (member.depth(), parent, member.index());
            prop_assert!(at == 0 || last < this);
            last = this;
            place.insert(member.node().name.as_str(), at);
        }
        let deepest = manifest.nodes.iter().map(|node| depth(&manifest, node)).max().unwrap();
        prop_assert_eq!(graph.levels(), deepest + 1);
        for member in graph.create_order() {
            prop_assert!(member.children().all(|child| child.parent().unwrap().index() == member.index()));
        }
        let carried: usize = graph.create_order().map(|member| member.children().count()).sum();
        prop_assert_eq!(graph.roots().count() + carried, manifest.nodes.len());
    }

    #[test]
    fn the_first_levels_are_whole_and_nothing_else(manifest in manifest(), levels in 1..6usize) {
        let graph = Graph::new(&manifest).unwrap();
        let part = graph.first_levels(NonZeroUsize::new(levels).unwrap());
        let expected: Vec<&str> = manifest.nodes.iter().filter(|node| depth(&manifest, node) < levels).map(|node| node.name.as_str()).collect();
        prop_assert_eq!(names(&part), expected);
        prop_assert_eq!(&part.name, &manifest.name);
        keeps_what_nodes_are(&graph, &part)?;
    }

    #[test]
    fn a_subtree_holds_all_that_a_node_carries_and_it_stays_what_it_is(manifest in manifest()) {
        let graph = Graph::new(&manifest).unwrap();
        for member in graph.create_order() {
            let Some(part) = member.subtree() else {
                prop_assert_eq!(member.children().count(), 0);
                continue;
            };
            let below = |node: &Node| {
                let mut at = graph.find(&node.name).unwrap();
                while let Some(parent) = at.parent() {
                    if parent.index() == member.index() {
                        return true;
                    }
                    at = parent;
                }
                false
            };
            let expected: BTreeSet<&str> = manifest.nodes.iter().filter(|node| below(node)).map(|node| node.name.as_str()).collect();
            prop_assert_eq!(names(&part).into_iter().collect::<BTreeSet<_>>(), expected);
            prop_assert_eq!(part.nodes.len(), member.descendants().len());
            let root = |node: &Node| graph.find(&node.name).unwrap().parent().unwrap().index() == member.index();
            prop_assert!(part.nodes.iter().all(|node| node.parent.is_none() == root(node)));
            prop_assert!(part.name.as_str().ends_with("-subtree"));
            keeps_what_nodes_are(&graph, &part)?;
        }
    }

    #[test]
    fn a_path_names_the_way_from_the_host(manifest in manifest()) {
        let graph = Graph::new(&manifest).unwrap();
        let host = HostName::local();
        for member in graph.create_order() {
            let path = member.path(&host).unwrap();
            prop_assert_eq!(path.depth(), member.depth() + 1);
            prop_assert_eq!(path.name(), member.node().name.as_str());
            let above = member.parent().map(|parent| parent.path(&host).unwrap());
            prop_assert!(above.is_none() || path.parent() == above);
        }
    }

    #[test]
    fn what_is_written_as_yaml_or_json_is_read_as_the_same(manifest in manifest()) {
        for text in [draw::yaml(&manifest), draw::json(&manifest)] {
            let parsed = match parse("drawn", &text, None) {
                Ok(parsed) => parsed.manifest,
                Err(found) => return Err(TestCaseError::fail(format!("{}\nin\n{text}", found[0]))),
            };
            prop_assert_eq!(&parsed, &manifest);
        }
    }

    #[test]
    fn every_drawing_shows_every_node(manifest in manifest()) {
        let graph = Graph::new(&manifest).unwrap();
        for lines in [draw::Lines::Unicode, draw::Lines::Ascii] {
            prop_assert_eq!(draw::tree(&graph, lines).lines().count(), manifest.nodes.len() + 1);
        }
        let edges = manifest.nodes.iter().filter(|node| node.parent.is_some()).count();
        prop_assert_eq!(draw::dot(&graph).matches(" -> ").count(), edges);
        prop_assert_eq!(draw::mermaid(&graph).matches(" --> ").count(), edges);
    }

    #[test]
    fn nothing_makes_the_reader_panic(text in hostile()) {
        if let Ok(parsed) = parse("f", &text, None) {
            prop_assert!(Graph::new(&parsed.manifest).is_ok());
            let again = parse("f", &draw::yaml(&parsed.manifest), None);
            prop_assert_eq!(again.unwrap().manifest, parsed.manifest);
        }
    }
}

/// Modes, vmids and all else are in a part what they are in the whole, and the part is sound.
fn keeps_what_nodes_are(whole: &Graph<'_>, part: &Manifest) -> Result<(), TestCaseError> {
    let graph = Graph::new(part).unwrap();
    for member in graph.create_order() {
        let before = whole.find(&member.node().name).unwrap();
        prop_assert_eq!(member.mode(), before.mode());
        prop_assert_eq!(member.vmid(), before.vmid());
        let (now, then) = (member.node(), before.node());
        prop_assert_eq!((now.kind, &now.spec, &now.preset), (then.kind, &then.spec, &then.preset));
        prop_assert_eq!((&now.image, now.disk), (&then.image, then.disk));
    }
    let (now, then) = (part.settings, whole.manifest().settings);
    prop_assert_eq!((now.verify_ssh, now.cleanup_on_failure), (then.verify_ssh, then.cleanup_on_failure));
    prop_assert_eq!((now.timeout_buffer, now.on_error), (then.timeout_buffer, then.on_error));
    prop_assert_eq!((part.default_mode, part.pattern), (whole.manifest().default_mode, whole.manifest().pattern));
    Ok(())
}

/// Pieces of manifests and of YAML's grammar in any order, and sound manifests with a piece put somewhere.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = [
        "schema_version: 2\n",
        "name: m\n",
        "nodes:\n",
        "- name: a\n",
        "  type: pve\n",
        "  image: i\n",
        "  parent: a\n",
        "settings: ",
        "execution: {mode: pull}\n",
        "vmid: 99001\n",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a ",
        "<<: *a\n",
        "!!str ",
        "!x ",
        "|\n",
        ">-\n",
        "'",
        "\"",
        "\\",
        "\\x4",
        "#",
        " #",
        "\n",
        "\r",
        "\r\n",
        "\t",
        " ",
        "  ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "%TAG ! x\n",
        "\u{feff}",
        "\0",
        "\u{85}",
        "\u{2028}",
        "ä",
        "~",
        "null",
        "0",
        "-",
        "@",
        "`",
    ];
    let piece = proptest::sample::select(pieces.to_vec());
    let loose = vec(prop_oneof![9 => piece.clone().prop_map(str::to_owned), 1 => any::<String>()], 0..40);
    let within = (manifest(), any::<bool>(), any::<proptest::sample::Index>(), vec(piece, 1..4));
    prop_oneof![
        loose.prop_map(|pieces| pieces.concat()),
        within.prop_map(|(manifest, json, at, pieces)| {
            let mut text = if json { draw::json(&manifest) } else { draw::yaml(&manifest) };
            let at = text.floor_char_boundary(at.index(text.len()));
            text.insert_str(at, &pieces.concat());
            text
        }),
    ]
}

#[test]
fn a_vmid_from_the_base_counts_the_place_in_the_manifest_and_a_chosen_one_wins() {
    let text = "\
schema_version: 2
name: m
settings: {vmid_base: 99100}
nodes:
- {name: a, type: pve, image: i}
- {name: b, type: ct, vmid: 12345, parent: a}
- {name: c, type: ct, parent: a}
";
    let manifest = parse("m", text, None).unwrap().manifest;
    let graph = Graph::new(&manifest).unwrap();
    let vmids: Vec<u32> = graph.create_order().map(|member| member.vmid().unwrap().number()).collect();
    assert_eq!(vmids, [99100, 12345, 99102]);
    let part = graph.roots().next().unwrap().subtree().unwrap();
    assert_eq!(part.nodes.iter().map(|node| node.vmid.unwrap().number()).collect::<Vec<_>>(), [12345, 99102]);
}

#[test]
fn a_manifest_put_together_wrongly_is_no_tree_and_says_all_that_is_wrong() {
    let text = "schema_version: 2\nname: m\nnodes:\n- {name: a, type: vm, image: i}\n- {name: b, type: ct}\n";
    let mut manifest = parse("m", text, None).unwrap().manifest;
    manifest.nodes[1].parent = Some(NodeName::parse("a").unwrap());
    manifest.nodes[0].parent = Some(NodeName::parse("z").unwrap());
    let errors: Vec<&str> = Graph::new(&manifest).unwrap_err().iter().map(|error| error.code.as_str()).collect();
    assert_eq!(errors, ["E624", "E626"]);
}

#[test]
fn the_longest_name_still_names_its_subtree() {
    let long = "n".repeat(63);
    let text = format!(
        "schema_version: 2\nname: m\nnodes:\n- {{name: {long}, type: pve, image: i}}\n- {{name: b, type: ct, parent: {long}}}\n"
    );
    let manifest = parse("m", &text, None).unwrap().manifest;
    let part = Graph::new(&manifest).unwrap().roots().next().unwrap().subtree().unwrap();
    assert_eq!(part.name.as_str(), format!("{}-subtree", "n".repeat(55)));
    assert_eq!(part.description.as_deref().unwrap(), format!("Subtree of m rooted at children of {long}"));
}
