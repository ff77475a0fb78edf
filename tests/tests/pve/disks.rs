//! What machines' disks are made from on a host: images of every place, and files that PVE's API makes no disk from.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use homestak_agent::provider::Provider as _;
use homestak_protocol::message::Source;
use homestak_protocol::order::NodeKind;
use homestak_tests::crash::CrashFile;
use homestak_tests::document::all;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::{Value, json};

use crate::images::{GIVEN, image};
use crate::provider::{Driver, identity, machine, task};

/// An image beside the ISO files, where the earlier system has put them.
fn put_iso(host: &FakePve, file: &str, bytes: &[u8]) {
    let folder = host.storage.join("template/iso");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(file), bytes).unwrap();
}

/// What the last machine was imported from.
fn imported(host: &FakePve) -> String {
    let made = host.changes().into_iter().rfind(|line| line.starts_with("POST /nodes/father/qemu ")).unwrap();
    let (_, from) = made.split_once("import-from%3D").unwrap();
    from.split("%2Cdiscard").next().unwrap().replace("%3A", ":").replace("%2F", "/")
}

#[tokio::test]
async fn an_image_is_taken_from_the_best_place_that_has_it_and_the_plan_would_say_the_same() {
    if !fakepve::is_installed("an_image_is_taken_from_the_best_place_that_has_it_and_the_plan_would_say_the_same") {
        return;
    }
    let stage = Stage::set("pve-image-order");
    let host = FakePve::start(&stage, "father", 0.0);
    host.call("drop_volume", json!(["local", GIVEN]), json!({}));
    let bytes = image(4096);
    for file in ["debian-12-custom.qcow2", "debian-12.qcow2"] {
        host.put_image(file, &bytes);
    }
    for file in ["debian-12-custom.img", "debian-12.img"] {
        put_iso(&host, file, &bytes);
    }
    let places =
        ["import/debian-12-custom.qcow2", "import/debian-12.qcow2", "iso/debian-12-custom.img", "iso/debian-12.img"];
    for (number, place) in places.iter().enumerate() {
        let driver = Driver::open(&host, &stage.folder().join(format!("state-{number}")));
        let ask = machine("edge", NodeKind::Vm, None);
        let told = driver.pve.sources(vec![ask.machine.image.clone().unwrap()], task()).await.unwrap();
        assert_eq!(told, [Source::Volume(format!("local:{place}"))]);
        driver.ensure(ask.clone()).await.unwrap();
        match place.split_once('/').unwrap() {
            ("import", _) => assert_eq!(imported(&host), format!("local:{place}")),
            // PVE makes no disk from what lies there: the same file is a volume for disks as well.
            (_, file) => {
                let stem = file.trim_end_matches(".img");
                let from = imported(&host);
                assert!(from.starts_with(&format!("local:import/homestak-iso-{stem}-")), "{from}");
                assert!(from.ends_with(".qcow2"), "{from}");
            }
        }
        driver.destroy(identity(&ask)).await.unwrap();
        fs::remove_file(host.storage.join(place.replace("iso/", "template/iso/"))).unwrap();
    }
    assert_eq!(host.state()["paths"], json!([]), "a disk comes by a volume's id");
}

#[tokio::test]
async fn where_pve_knows_no_storage_for_images_its_own_program_imports_the_file() {
    if !fakepve::is_installed("where_pve_knows_no_storage_for_images_its_own_program_imports_the_file") {
        return;
    }
    let stage = Stage::set("pve-image-qm");
    let host = FakePve::start(&stage, "father", 0.0);
    grow_old(&host);
    let folder = stage.folder().join("state");
    let driver = Driver::open(&host, &folder);
    let ask = machine("edge", NodeKind::Vm, None);
    let refused = driver.ensure(ask.clone()).await.unwrap_err();
    assert!(refused.message.contains("`qm set ") && refused.hint.is_some(), "{refused:?}");
    // The machine is there, without a disk. Whoever comes next gives it one.
    host.qm(&folder);
    driver.ensure(ask.clone()).await.unwrap();
    let guest = host.guest("edge");
    assert_eq!((&guest["status"], &guest["config"]["boot"]), (&json!("running"), &json!("order=virtio0")));
    assert!(guest["config"]["virtio0"].as_str().unwrap().contains("size=4G"), "{guest:#}");
    let log = fs::read_to_string(folder.join("qm/log")).unwrap();
    let wanted = format!(
        "set {} --virtio0 local-lvm:0,import-from={},discard=on,iothread=1 --boot order=virtio0\n",
        guest["vmid"],
        host.storage.join("template/iso/debian-12.img").display()
    );
    assert_eq!(log, wanted);
    assert_eq!((host.guests().len(), &host.state()["paths"]), (1, &json!([])), "the API is asked for no path");
    driver.ensure(ask.clone()).await.unwrap();
    assert_eq!(fs::read_to_string(folder.join("qm/log")).unwrap(), wanted, "once");
    driver.destroy(identity(&ask)).await.unwrap();
    assert_eq!(host.guests(), Vec::<Value>::new());
}

/// Makes a host one of a PVE that knows no storages for images, with one beside the ISO files.
fn grow_old(host: &FakePve) {
    let mut local = host.call("storage_of", json!(["local"]), json!({}));
    local["content"] = json!("iso,vztmpl,backup,snippets");
    host.call("set_storage", json!(["local", local]), json!({}));
    host.call("drop_volume", json!(["local", GIVEN]), json!({}));
    put_iso(host, "debian-12.img", &image(4096));
}

fn imports(folder: &Path) -> usize {
    fs::read_to_string(folder.join("qm/log")).unwrap_or_default().lines().count()
}

#[test]
fn an_agent_that_dies_at_an_import_leaves_a_machine_that_the_next_one_gives_its_disk() {
    if !fakepve::is_installed("an_agent_that_dies_at_an_import_leaves_a_machine_that_the_next_one_gives_its_disk") {
        return;
    }
    for (side, wanted) in [("before", 1), ("after", 1)] {
        let stage = Stage::set(&format!("pve-import-{side}"));
        let host = Arc::new(FakePve::start(&stage, "father", 0.0));
        grow_old(&host);
        host.qm(stage.folder());
        let crash = CrashFile::new(stage.folder());
        let plan = crash.path().display().to_string();
        let path = format!("{}:{}", stage.folder().join("qm").display(), std::env::var("PATH").unwrap_or_default());
        let agent = HostAgent::join(&stage, &host, &[("PATH", &path), ("HOMESTAK_CRASH_AT", &plan)]);
        let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
        crash.arm([format!("pve.import:{side}@father").as_str()]);
        let run = stage.json(0, &["apply", "n1-push", "-H", "father", "--detach"]);
        wait::until("it has died at it", || agent.has_ended().then_some(()));
        agent.start_again();
        wait::until("the run is over", || {
            let runs = stage.json(0, &["runs", "--limit", "1"]);
            (runs["runs"][0]["run"] == run["run"] && runs["runs"][0]["state"] == "succeeded").then_some(())
        });
        assert_eq!((imports(stage.folder()), host.guests().len()), (wanted, 1), "{side}: once, and no machine twice");
        all(&stage.json(0, &["apply", "n1-push", "-H", "father"]), "action", "unchanged");
        stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
        assert_eq!(host.guests(), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_machine_whose_disk_somebody_has_moved_or_taken_away_is_given_no_other_one() {
    if !fakepve::is_installed("a_machine_whose_disk_somebody_has_moved_or_taken_away_is_given_no_other_one") {
        return;
    }
    let stage = Stage::set("pve-disk-moved");
    let host = FakePve::start(&stage, "father", 0.0);
    let folder = stage.folder().join("state");
    let driver = Driver::open(&host, &folder);
    host.qm(&folder);
    let ask = machine("edge", NodeKind::Vm, Some(600));
    driver.ensure(ask.clone()).await.unwrap();
    let was = host.guest("edge")["config"].clone();
    for key in ["scsi0", "unused0"] {
        let mut config = was.clone();
        config[key] = was["virtio0"].clone();
        config.as_object_mut().unwrap().remove("virtio0");
        host.set_of(600, "config", config);
        // Whatever else comes of it: nothing is imported over it.
        let _told = driver.ensure(ask.clone()).await;
        assert_eq!(imports(&folder), 0, "{key}");
        assert_eq!(host.guest("edge")["config"][key], was["virtio0"], "{key}");
    }
}
