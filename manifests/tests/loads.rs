//! What is read: the shapes in which manifests are found in the field, JSON, and the built-in ones.
#![cfg(test)]

use homestak_manifests::model::{Mode, NodeKind, OnError, Pattern};
use homestak_manifests::{Graph, Manifest, catalog, parse};
use homestak_protocol::ids::Vmid;

fn read(text: &str) -> Manifest {
    match parse("m.yaml", text, None) {
        Ok(parsed) => parsed.manifest,
        Err(found) => panic!("{}", found[0]),
    }
}

#[test]
fn a_manifest_with_comments_a_document_mark_and_null_parents_is_read() {
    let manifest = read(
        "---
# A tree with everything in it.
#
# Comments of several lines.

schema_version: 2
name: all-of-it
description: \"Everything: in one\"   # quoted
pattern: tiered
execution:
  default_mode: pull

nodes:
  # the outer host
  - name: outer
    type: pve
    spec: pve
    preset: vm-large
    image: pve-9
    vmid: 99011
    disk: 64
    parent: null

  - name: box
    type: ct
    parent: outer
    preset: ~
    execution: {}
  - { name: inner, type: vm, image: debian-12, parent: outer, execution: { mode: push } }

settings:
  verify_ssh: no
  cleanup_on_failure: False
  timeout_buffer: 0
  on_error: rollback
  vmid_base: 99100
...
",
    );
    assert_eq!(
        (manifest.name.as_str(), manifest.pattern, manifest.default_mode),
        ("all-of-it", Pattern::Tiered, Mode::Pull)
    );
    assert_eq!(manifest.description.as_deref(), Some("Everything: in one"));
    let settings = manifest.settings;
    assert_eq!((settings.verify_ssh, settings.cleanup_on_failure, settings.timeout_buffer), (false, false, 0));
    assert_eq!((settings.on_error, settings.vmid_base), (OnError::Rollback, Vmid::new(99100)));
    let kinds: Vec<NodeKind> = manifest.nodes.iter().map(|node| node.kind).collect();
    assert_eq!(kinds, [NodeKind::Pve, NodeKind::Ct, NodeKind::Vm]);
    let outer = &manifest.nodes[0];
    assert_eq!((outer.vmid, outer.disk.map(|disk| disk.get())), (Vmid::new(99011), Some(64)));
    assert_eq!((&outer.parent, &manifest.nodes[1].preset), (&None, &None));
    assert_eq!(manifest.nodes[2].mode, Some(Mode::Push));
}

#[test]
fn what_is_left_out_is_at_its_default() {
    let manifest = read("schema_version: 2\nname: m\nnodes: [{name: a, type: ct}]\nsettings:\nexecution:\n");
    assert_eq!(
        (manifest.pattern, manifest.default_mode, manifest.settings.on_error),
        (Pattern::Flat, Mode::Push, OnError::Stop)
    );
    let settings = manifest.settings;
    assert_eq!((settings.verify_ssh, settings.cleanup_on_failure, settings.timeout_buffer), (true, true, 60));
    assert_eq!(settings.vmid_base, None);
}

#[test]
fn children_may_stand_before_their_parents() {
    let text = "schema_version: 2\nname: m\npattern: tiered\nnodes:\n- {name: leaf, type: ct, parent: top}\n- {name: top, type: pve, image: i}\n";
    let manifest = read(text);
    let graph = Graph::new(&manifest).unwrap();
    let order: Vec<&str> = graph.create_order().map(|member| member.node().name.as_str()).collect();
    assert_eq!(order, ["top", "leaf"]);
}

#[test]
fn json_is_read_however_it_is_laid_out() {
    let compact = r#"{"schema_version":2,"name":"m","description":"a \"b\" \u00e4\/","pattern":"tiered","nodes":[{"name":"top","type":"pve","image":"i","parent":null},{"name":"leaf","type":"vm","image":"j","vmid":99001,"parent":"top","execution":{"mode":"pull"}}]}"#;
    let spread = compact.replace(",\"", ",\r\n\t\"").replace('{', "\n { ").replace(':', " : ");
    assert_eq!(read(compact), read(&spread));
    assert_eq!(read(compact).description.as_deref(), Some("a \"b\" ä/"));
    let found = parse("m.json", &compact.replace("99001", "9"), None).unwrap_err();
    let column = compact.find("99001").unwrap() + 1;
    assert_eq!((found[0].line, found[0].column), (1, u32::try_from(column).unwrap()));
    let source = found[0].source.as_ref().unwrap();
    assert_eq!(source.text.chars().nth(source.before), Some('9'));
}

#[test]
fn aliases_and_merged_mappings_are_read_as_if_written_out() {
    let text = "\
schema_version: 2
name: m
nodes:
  - &first
    name: a
    type: vm
    image: &image debian-12
    preset: vm-small
  - <<: *first
    name: b
    preset: vm-large
  - {name: c, type: vm, image: *image}
";
    let written = "\
schema_version: 2
name: m
nodes:
  - {name: a, type: vm, image: debian-12, preset: vm-small}
  - {name: b, type: vm, image: debian-12, preset: vm-large}
  - {name: c, type: vm, image: debian-12}
";
    assert_eq!(read(text), read(written));
}

#[test]
fn a_byte_order_mark_and_windows_line_breaks_do_no_harm_to_places() {
    let text = "\u{feff}schema_version: 2\r\nname: m\r\nnodes:\r\n- {name: a, type: vn, image: i}\r\n";
    let found = parse("m.yaml", text, None).unwrap_err();
    assert_eq!((found[0].line, found[0].column), (4, 19));
    assert_eq!(found[0].source.as_ref().unwrap().text, "- {name: a, type: vn, image: i}");
    let found = parse("m.yaml", "\u{feff}schema_version: 3\n", None).unwrap_err();
    assert_eq!(found[0].column, 17);
    let source = found[0].source.as_ref().unwrap();
    assert_eq!(source.text.chars().nth(source.before), Some('3'));
}

#[test]
fn the_whole_catalogue_is_sound_and_goes_by_its_names() {
    let expected = [
        ("n1-push", 1, 1),
        ("n1-pull", 1, 1),
        ("n2-tiered", 2, 2),
        ("n2-push", 2, 2),
        ("n2-mixed", 3, 2),
        ("n3-deep", 3, 3),
        ("flat-3", 3, 1),
    ];
    assert_eq!(catalog::ENTRIES.len(), expected.len());
    for (name, nodes, levels) in expected {
        let entry = catalog::find(name).unwrap();
        let parsed = parse(entry.file, entry.text, None).unwrap();
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings[0]);
        assert_eq!((parsed.manifest.name.as_str(), parsed.manifest.nodes.len()), (name, nodes));
        assert!(parsed.manifest.description.is_some());
        let graph = Graph::new(&parsed.manifest).unwrap();
        assert_eq!(graph.levels(), levels, "{name}");
        assert!(graph.create_order().all(|member| member.vmid().is_some()));
    }
    assert_eq!(catalog::find("n9"), None);
}

#[test]
fn the_catalogue_uses_each_mode_as_its_name_says() {
    let modes = |name: &str| {
        let entry = catalog::find(name).unwrap();
        let manifest = read(entry.text);
        let graph = Graph::new(&manifest).unwrap();
        graph.create_order().map(|member| (member.node().name.to_string(), member.mode())).collect::<Vec<_>>()
    };
    assert_eq!(modes("n1-pull"), [("edge".into(), Mode::Pull)]);
    assert_eq!(modes("n2-tiered"), [("root-pve".into(), Mode::Push), ("edge".into(), Mode::Pull)]);
    let mixed = [("root-pve".into(), Mode::Push), ("edge".into(), Mode::Pull), ("app".into(), Mode::Push)];
    assert_eq!(modes("n2-mixed"), mixed);
}
