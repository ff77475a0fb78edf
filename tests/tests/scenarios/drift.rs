//! A spec with a rhythm: what is changed on a machine afterwards is seen at the coordinator, and gone with the next apply.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homestak_tests::stage::Stage;
use homestak_tests::{document, wait};
use serde_json::Value;

/// What a look a second may take on a machine with a lot else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// A site of one machine that is looked at every second.
fn site(stage: &Stage) -> PathBuf {
    let site = stage.file("made", "").with_file_name("pier");
    let file = |path: &str, text: &str| {
        fs::create_dir_all(site.join(path).parent().unwrap()).unwrap();
        fs::write(site.join(path), text).unwrap();
    };
    file("site.yaml", "defaults: {timezone: Etc/UTC}\n");
    file("postures/dev.yaml", "ssh: {port: 22}\n");
    file("presets/vm-small.yaml", "cores: 1\nmemory: 1024\ndisk: 10\n");
    file(
        "specs/base.yaml",
        "schema_version: 1\naccess: {posture: dev}\nconfig: {timezone: Etc/UTC}\nrun: {trigger: schedule, interval: 1s}\n",
    );
    file(
        "manifests/pier.yaml",
        "schema_version: 2\nname: pier\nnodes:\n  - {name: post, type: vm, image: debian-12, preset: vm-small, spec: base}\n",
    );
    site
}

fn drift(stage: &Stage) -> Value {
    document::node(&stage.json(0, &["status", "pier"]), "post")["drift"].clone()
}

fn scribble(root: &Path) {
    fs::write(root.join("etc/timezone"), "Europe/Oslo\n").unwrap();
}

#[test]
fn what_is_changed_by_hand_is_told_within_the_rhythm_and_gone_once_it_is_put_right() {
    let mut stage = Stage::set("drift");
    let site = site(&stage);
    stage.env("HOMESTAK_SITE_CONFIG", &site);
    let run = stage.json(0, &["apply", "pier"]);
    assert_eq!(drift(&stage), Value::Null);
    let root = stage.machine("local/pier/post").folder.join("root");

    let was = fs::read(root.join("etc/timezone")).unwrap();
    scribble(&root);
    let told = wait::within(LIMIT, "drift in `status`", || Some(drift(&stage)).filter(|drift| !drift.is_null()));
    assert_eq!(told["differences"], 1, "{told}");
    assert!(told["lines"][0].as_str().unwrap().starts_with("timezone "), "{told}");
    assert!(told["checked_at"].is_string(), "{told}");
    let shown = stage.coord(&["status", "pier"]).exits(0).stdout;
    assert!(shown.contains("drifted: 1 difference"), "{shown}");
    let logs = stage.coord(&["logs", run["run"].as_str().unwrap(), "--node", "post"]).exits(0).stdout;
    assert!(logs.contains("is not as its spec has it: timezone "), "{logs}");

    // Mended by hand, it is told too.
    fs::write(root.join("etc/timezone"), was).unwrap();
    wait::within(LIMIT, "no drift in `status`", || drift(&stage).is_null().then_some(()));

    scribble(&root);
    wait::within(LIMIT, "drift again", || (!drift(&stage).is_null()).then_some(()));
    stage.json(0, &["apply", "pier"]);
    assert_eq!(drift(&stage), Value::Null);
    assert_eq!(fs::read_to_string(root.join("etc/timezone")).unwrap(), "Etc/UTC\n");
    stage.strike();
}
