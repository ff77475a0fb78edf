//! What drawings look like.
#![cfg(test)]

use homestak_manifests::draw::{self, Lines};
use homestak_manifests::{Graph, Manifest, catalog, parse};

fn catalogued(name: &str) -> Manifest {
    let entry = catalog::find(name).unwrap();
    parse(entry.file, entry.text, None).unwrap().manifest
}

#[test]
fn a_tree_shows_who_carries_whom() {
    let manifest = catalogued("n2-mixed");
    let graph = Graph::new(&manifest).unwrap();
    let unicode = "\
n2-mixed  A PVE host with one VM configured by pull and one by push
└─ root-pve  pve  spec pve  vmid 99011  vm-large  64 GiB  debian-13-pve
   ├─ edge  vm  spec base  pull  vmid 99021  vm-small  debian-12
   └─ app  vm  spec base  vmid 99022  vm-xsmall  debian-12
";
    assert_eq!(draw::tree(&graph, Lines::Unicode), unicode);
    let ascii = "\
n2-mixed  A PVE host with one VM configured by pull and one by push
`- root-pve  pve  spec pve  vmid 99011  vm-large  64 GiB  debian-13-pve
   |- edge  vm  spec base  pull  vmid 99021  vm-small  debian-12
   `- app  vm  spec base  vmid 99022  vm-xsmall  debian-12
";
    assert_eq!(draw::tree(&graph, Lines::Ascii), ascii);
}

#[test]
fn a_tree_keeps_to_eighty_columns_and_shows_every_name() {
    let mut text =
        String::from("schema_version: 2\nname: deep\ndescription: \"first\\e[2J\\nsecond\"\npattern: tiered\nnodes:\n");
    for i in 0..20 {
        let parent = if i == 0 { "~".to_owned() } else { format!("node-{}", i - 1) };
        text.push_str(&format!("- {{name: node-{i}, type: pve, image: debian-13-pve, preset: vm-large, vmid: 99{i:03}, parent: {parent}}}\n"));
    }
    let manifest = parse("m", &text, None).unwrap().manifest;
    let drawn = draw::tree(&Graph::new(&manifest).unwrap(), Lines::Unicode);
    assert!(drawn.starts_with("deep  first[2J\n"), "{drawn}");
    for (i, line) in drawn.lines().skip(1).enumerate() {
        assert!(line.chars().count() <= 80 && line.contains(&format!("node-{i}  pve")), "{line}");
    }
    assert_eq!(drawn.lines().count(), 21);
}

#[test]
fn a_diagram_has_every_node_and_every_edge() {
    let manifest = catalogued("n3-deep");
    let graph = Graph::new(&manifest).unwrap();
    let dot = r#"digraph "n3-deep" {
  rankdir=TB;
  node [shape=box];
  "root-pve" [label="root-pve\npve\nspec pve\nvmid 99011\nvm-large\n64 GiB\ndebian-13-pve", shape=box3d];
  "leaf-pve" [label="leaf-pve\npve\nspec pve\nvmid 99021\nvm-medium\ndebian-13-pve", shape=box3d];
  "edge" [label="edge\nvm\nspec base\nvmid 99031\nvm-small\ndebian-12"];
  "root-pve" -> "leaf-pve";
  "leaf-pve" -> "edge";
}
"#;
    assert_eq!(draw::dot(&graph), dot);
    let mermaid = r#"flowchart TD
  n0["root-pve<br/>pve<br/>spec pve<br/>vmid 99011<br/>vm-large<br/>64 GiB<br/>debian-13-pve"]
  n1["leaf-pve<br/>pve<br/>spec pve<br/>vmid 99021<br/>vm-medium<br/>debian-13-pve"]
  n2["edge<br/>vm<br/>spec base<br/>vmid 99031<br/>vm-small<br/>debian-12"]
  n0 --> n1
  n1 --> n2
"#;
    assert_eq!(draw::mermaid(&graph), mermaid);
}

#[test]
fn yaml_looks_as_if_written_by_hand_and_json_is_the_schemas_own_form() {
    let manifest = catalogued("n2-tiered");
    let yaml = "\
schema_version: 2
name: n2-tiered
description: \"A PVE host with one VM in it that is configured by pull\"
pattern: tiered

nodes:
  - name: root-pve
    type: pve
    preset: vm-large
    image: debian-13-pve
    vmid: 99011
    disk: 64

  - name: edge
    type: vm
    preset: vm-small
    image: debian-12
    vmid: 99021
    parent: root-pve
    execution:
      mode: pull
";
    assert_eq!(draw::yaml(&manifest), yaml);
    let json: serde_json::Value = serde_json::from_str(&draw::json(&manifest)).unwrap();
    let expected = serde_json::json!({
        "schema_version": 2,
        "name": "n2-tiered",
        "description": "A PVE host with one VM in it that is configured by pull",
        "pattern": "tiered",
        "nodes": [
            {"name": "root-pve", "type": "pve", "preset": "vm-large", "image": "debian-13-pve", "vmid": 99011, "disk": 64},
            {"name": "edge", "type": "vm", "preset": "vm-small", "image": "debian-12", "vmid": 99021, "parent": "root-pve",
             "execution": {"mode": "pull"}},
        ],
    });
    assert_eq!(json, expected);
}
