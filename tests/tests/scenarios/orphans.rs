//! What is left behind on `local`, and found.

use std::fs;
use std::path::Path;

use homestak_tests::stage::Stage;
use serde_json::json;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&path, &to),
            kind if kind.is_file() => drop(fs::copy(&path, &to).unwrap()),
            _ => {}
        }
    }
}

#[test]
fn a_machine_that_no_tree_names_is_an_orphan_and_goes_on_request() {
    let stage = Stage::set("orphans");
    stage.json(0, &["apply", "n1-push"]);
    stage.json(0, &["apply", "n2-push"]);
    let none = stage.json(0, &["orphans"]);
    assert_eq!((&none["hosts"], &none["orphans"]), (&json!(["local", "local/n2-push/root-pve"]), &json!([])));

    let machine = stage.machine("local/n1-push/edge");
    let aside = stage.folder().join("aside");
    copy(&machine.folder, &aside);
    stage.json(0, &["destroy", "n1-push", "--yes"]);
    copy(&aside, &machine.folder);

    let found = stage.json(0, &["orphans", "-H", "local"]);
    let wanted = json!([{ "host": "local", "tree": "local/n1-push", "path": "local/n1-push/edge",
        "vm_id": machine.vmid, "running": false }]);
    assert_eq!(found["orphans"], wanted, "{found:#}");
    stage.coord(&["orphans"]).exits(0).says("local/n1-push/edge");
    let gone = stage.json(0, &["orphans", "--destroy", "--yes"]);
    assert_eq!(gone["orphans"][0]["destroyed"], true, "{gone:#}");
    assert!(!machine.folder.exists());
    stage.coord(&["orphans"]).exits(0).says("There are no orphans on local, local/n2-push/root-pve.");
    fs::remove_dir_all(aside).unwrap();
    stage.strike();
}
