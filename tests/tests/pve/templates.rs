//! Container templates that a host does not have: from its parent, as images.

use std::fs;
use std::sync::Arc;

use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, pct_stand_in};
use homestak_tests::stage::Stage;
use serde_json::json;

/// What every fake has from the beginning, and is in the way here.
const GIVEN: [&str; 2] =
    ["vztmpl/debian-11-standard_11.7-1_amd64.tar.zst", "vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"];

#[test]
fn a_container_on_a_host_inside_a_host_is_made_from_the_outer_hosts_newest_template() {
    if !fakepve::is_installed("a_container_on_a_host_inside_a_host_is_made_from_the_outer_hosts_newest_template") {
        return;
    }
    let stage = Stage::set("pve-template");
    let hosts = ["father", "root-pve"].map(|node| Arc::new(FakePve::start(&stage, node, 0.0)));
    for host in &hosts {
        for volume in GIVEN {
            host.call("drop_volume", json!(["local", volume]), json!({}));
        }
    }
    let [father, inner] = &hosts;
    let cache = father.storage.join("template/cache");
    fs::create_dir_all(&cache).unwrap();
    for (file, bytes) in
        [("debian-9-turnkey_9.1_amd64.tar.gz", "old"), ("debian-12-standard_12.2-1_amd64.tar.zst", "new")]
    {
        fs::write(cache.join(file), bytes).unwrap();
    }
    let path = pct_stand_in(&stage);
    let _agent = HostAgent::join(&stage, father, &[]);
    let _guests = Guests::keep(&stage, &hosts, &[("PATH", &path)]);
    let nodes = "nodes:\n  - {name: root-pve, type: pve, preset: vm-small, image: debian-13-pve, vmid: 31000}\n  \
                 - {name: box, type: ct, spec: base, preset: vm-xsmall, parent: root-pve}\n";
    let text = format!("schema_version: 2\nname: boxes\npattern: tiered\n{nodes}");
    let file = stage.file("boxes.yaml", text).display().to_string();
    let built = stage.json(0, &["apply", &file, "-H", "father"]);
    all(&built, "status", "completed");
    let made = inner.changes().into_iter().find(|line| line.starts_with("POST /nodes/root-pve/lxc vmid")).unwrap();
    assert!(made.contains("ostemplate=local%3Avztmpl%2Fdebian-12-standard_12.2-1_amd64.tar.zst"), "{made}");
    let brought = inner.storage.join("template/cache");
    let files: Vec<_> = fs::read_dir(&brought).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(files, ["debian-12-standard_12.2-1_amd64.tar.zst"], "it, whole, and nothing beside it");
    assert_eq!(fs::read_to_string(brought.join(&files[0])).unwrap(), "new");
    stage.json(0, &["destroy", "boxes", "-H", "father", "--yes"]);
    // Where nobody has one, that is said, with how to get one.
    fs::remove_dir_all(cache).unwrap();
    fs::remove_dir_all(brought).unwrap();
    let refused = stage.json(1, &["apply", &file, "-H", "father"]);
    let error = &node(&refused, "box")["error"];
    assert_eq!(error["message"], "there is no container template of Debian on root-pve, nor above");
    assert!(error["hint"].as_str().unwrap().contains("pveam download"), "{error}");
}
