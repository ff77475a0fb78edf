//! Images that a host does not have: from its parent over the link, once, whatever happens meanwhile; else from a URL.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::extras::{Checksum, ImageSource};
use homestak_protocol::order::NodeKind;
use homestak_tests::disk::SmallDisk;
use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent};
use homestak_tests::manifest::Manifest;
use homestak_tests::needs;
use homestak_tests::relay::{Relay, Weather};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::json;

use crate::provider::{Driver, machine};

/// What is there from the beginning, and is in the way of what a test wants to see.
pub(crate) const GIVEN: &str = "import/debian-12-custom.qcow2";

/// Bytes that look like an image in QEMU's format.
pub(crate) fn image(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).unwrap()
    });
    b"QFI\xfb".iter().copied().chain(noise).take(length).collect()
}

/// A stage with the hosts `father`, who has the image as a file, and `root-pve`, who has none.
pub(crate) struct Set {
    pub(crate) hosts: [Arc<FakePve>; 2],
    pub(crate) stage: Stage,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn set(name: &str, length: usize) -> Set {
    let stage = Stage::set(name);
    let hosts = ["father", "root-pve"].map(|node| Arc::new(FakePve::start(&stage, node, 0.0)));
    let bytes = image(length);
    for host in &hosts {
        host.call("drop_volume", json!(["local", GIVEN]), json!({}));
        host.call("drop_volume", json!(["local", "iso/debian-13-custom.img"]), json!({}));
    }
    hosts[0].put_image("debian-12-custom.qcow2", &bytes);
    Set { hosts, stage, bytes }
}

impl Set {
    /// Lets the outer host join. The inner one, in a tree called `two`, finds it by a relay whose weather the test makes.
    pub(crate) fn joined_by_relay(&self) -> (Relay, HostAgent) {
        let relay = Relay::start(1);
        let way = format!("father/two/root-pve={}", relay.address);
        let agent = HostAgent::join(&self.stage, &self.hosts[0], &[("HOMESTAK_LOCAL_LINKS", &way)]);
        let port: u16 = fs::read_to_string(agent.state().join("port")).unwrap().trim().parse().unwrap();
        relay.towards(SocketAddr::from(([127, 0, 0, 1], port)));
        (relay, agent)
    }

    /// What the inner host has, once it has all of it.
    pub(crate) fn arrived(&self) -> bool {
        let file = self.hosts[1].storage.join("import/debian-12-custom.qcow2");
        fs::read(file).is_ok_and(|bytes| bytes == self.bytes)
    }

    /// How much of it is there.
    pub(crate) fn part(&self) -> Option<u64> {
        let names = self.hosts[1].image_files();
        let part = names.iter().find(|name| name.ends_with(".part"))?;
        fs::metadata(self.hosts[1].storage.join("import").join(part)).ok().map(|about| about.len())
    }
}

/// Two machines on a host inside a host, both made from an image that only the outer one has.
pub(crate) fn two(name: &str) -> String {
    let manifest = Manifest::new(name, 31_000).host("root-pve", None).vm("left", Some("root-pve"));
    manifest.vm("right", Some("root-pve")).text().to_owned()
}

#[test]
fn an_image_comes_from_the_parent_once_for_all_that_need_it_and_a_plan_says_so() {
    if !fakepve::is_installed("an_image_comes_from_the_parent_once_for_all_that_need_it_and_a_plan_says_so") {
        return;
    }
    let set = set("pve-image", 24 * 1024 * 1024);
    let (stage, [father, inner]) = (&set.stage, &set.hosts);
    let agent = HostAgent::join(stage, father, &[]);
    let _guests = Guests::keep(stage, &set.hosts, &[]);
    let file = stage.file("two.yaml", two("two")).display().to_string();
    let plan = stage.json(0, &["plan", &file, "-H", "father"]);
    let parent = json!({ "from": "parent", "host": "father", "volume": "local:import/debian-12-custom.qcow2" });
    assert_eq!(node(&plan, "left")["image_source"], parent, "{plan:#}");
    let volume = json!({ "from": "volume", "host": "father", "volume": "local:import/debian-13-pve.qcow2" });
    assert_eq!(node(&plan, "root-pve")["image_source"], volume);
    stage.coord(&["plan", &file, "-H", "father"]).exits(0).says("father local:import/debian-12-custom.qcow2");

    let built = stage.json(0, &["apply", &file, "-H", "father"]);
    all(&built, "status", "completed");
    assert!(set.arrived());
    assert_eq!(inner.image_files(), ["debian-12-custom.qcow2"], "nothing is left beside it");
    for name in ["left", "right"] {
        let made = inner.changes().into_iter().find(|line| line.contains(&format!("name={name}&"))).unwrap();
        assert!(made.contains("import-from%3Dlocal%3Aimport%2Fdebian-12-custom.qcow2"), "{made}");
    }
    assert_eq!(inner.state()["paths"], json!([]), "a disk comes by a volume's id");
    let log = fs::read_to_string(agent.state().with_file_name("log")).unwrap();
    assert_eq!(log.matches("giving an image to a child").count(), 1, "one fetch for both");
    stage.json(0, &["destroy", "two", "-H", "father", "--yes"]);
}

#[test]
fn an_image_whose_giver_is_lost_in_the_middle_goes_on_where_it_broke_off() {
    if !fakepve::is_installed("an_image_whose_giver_is_lost_in_the_middle_goes_on_where_it_broke_off") {
        return;
    }
    let set = set("pve-image-breaks", 64 * 1024 * 1024);
    let stage = &set.stage;
    let (relay, agent) = set.joined_by_relay();
    let _guests = Guests::keep(stage, &set.hosts, &[]);
    // Slow enough to be met in the middle.
    relay.turn(Weather::delay(Duration::from_millis(25)));
    let file = stage.file("two.yaml", two("two")).display().to_string();
    let run = stage.json(0, &["apply", &file, "-H", "father", "--detach"]);
    let begun = wait::within(Duration::from_secs(120), "a part of it is there", || {
        set.part().filter(|length| *length > 1024 * 1024)
    });
    relay.turn(Weather::OUTAGE);
    // Whoever gives it dies as well, and comes back.
    agent.kill();
    let broken = set.part().expect("it has not arrived yet");
    assert!(broken >= begun && broken < 64 * 1024 * 1024, "{begun} {broken}");
    agent.start_again();
    relay.turn(Weather::FAIR);
    let mut least = broken;
    wait::within(Duration::from_secs(180), "all of it is there", || {
        if let Some(length) = set.part() {
            assert!(length >= least, "nothing that was there is fetched again: {length} after {least}");
            least = length;
        }
        set.arrived().then_some(())
    });
    wait::within(Duration::from_secs(120), "the run is over", || {
        let runs = stage.json(0, &["runs", "--limit", "1"]);
        (runs["runs"][0]["run"] == run["run"] && runs["runs"][0]["state"] == "succeeded").then_some(())
    });
}

#[test]
fn an_image_that_finds_no_room_says_so_and_goes_on_when_there_is_some() {
    let name = "an_image_that_finds_no_room_says_so_and_goes_on_when_there_is_some";
    if !fakepve::is_installed(name) || !needs::root(name) {
        return;
    }
    let set = set("pve-image-room", 24 * 1024 * 1024);
    let (stage, [father, inner]) = (&set.stage, &set.hosts);
    let folder = inner.storage.join("import");
    let small = SmallDisk::at(&folder, 16);
    if !needs::have(name, "a tmpfs that may be mounted", small.is_some()) {
        return;
    }
    let relay = Relay::start(1);
    let way = format!("father/two/root-pve={}", relay.address);
    let agent = HostAgent::join(stage, father, &[("HOMESTAK_LOCAL_LINKS", &way)]);
    let port: u16 = fs::read_to_string(agent.state().join("port")).unwrap().trim().parse().unwrap();
    relay.towards(SocketAddr::from(([127, 0, 0, 1], port)));
    let _guests = Guests::keep(stage, &set.hosts, &[]);
    let file = stage.file("two.yaml", two("two")).display().to_string();
    let told = |document: &serde_json::Value| {
        let error = node(document, "left")["error"].clone();
        assert!(error["hint"].as_str().unwrap().contains("make room"), "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    // There is too little from the beginning: nothing is fetched.
    let refused = stage.json(1, &["apply", &file, "-H", "father"]);
    let message = told(&refused);
    assert!(message.contains("the image debian-12 needs") && message.contains("there are 16"), "{message}");
    assert_eq!(set.part().unwrap_or_default(), 0);
    drop(small);
    // It fills up while the image comes.
    let disk = SmallDisk::at(&folder, 100).unwrap();
    relay.turn(Weather::delay(Duration::from_millis(25)));
    let run = stage.start(&["apply", &file, "-H", "father", "--json"]);
    wait::within(Duration::from_secs(120), "a part of it is there", || {
        set.part().filter(|length| *length > 1024 * 1024)
    });
    disk.fill();
    let message = told(&run.finish(Duration::from_secs(120)).exits(1).json());
    // The last attempt says it, before it begins.
    assert!(message.contains("the image debian-12 needs") && message.contains("there are 0"), "{message}");
    let kept = set.part().expect("what has come is kept");
    assert!(kept > 1024 * 1024);
    disk.empty();
    relay.turn(Weather::FAIR);
    all(&stage.json(0, &["apply", &file, "-H", "father"]), "status", "completed");
    assert!(set.arrived());
    let log = fs::read_to_string(agent.state().with_file_name("log")).unwrap();
    assert!(log.contains(&format!("from={kept}")), "it has gone on where it was: {kept}");
    drop(disk);
}

#[test]
fn what_nobody_has_is_said_by_the_plan_and_by_the_apply() {
    if !fakepve::is_installed("what_nobody_has_is_said_by_the_plan_and_by_the_apply") {
        return;
    }
    let stage = Stage::set("pve-image-none");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    host.call("drop_volume", json!(["local", GIVEN]), json!({}));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let plan = stage.json(0, &["plan", "n1-push", "-H", "father"]);
    assert_eq!(node(&plan, "edge")["image_source"], json!({ "from": "missing" }), "{plan:#}");
    assert!(plan["notes"].to_string().contains("no host has the image of edge (debian-12)"), "{plan:#}");
    let refused = stage.json(1, &["apply", "n1-push", "-H", "father"]);
    let error = &node(&refused, "edge")["error"];
    assert!(error["message"].as_str().unwrap().contains("there is no image debian-12"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("images:"), "{error}");
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
}

fn from(url: &str) -> ImageSource {
    ImageSource { url: url.to_owned(), checksum: Checksum::Sha512("ab".repeat(64)) }
}

#[tokio::test]
async fn an_image_that_no_host_has_is_fetched_by_pve_from_the_sites_url_by_its_checksum() {
    if !fakepve::is_installed("an_image_that_no_host_has_is_fetched_by_pve_from_the_sites_url_by_its_checksum") {
        return;
    }
    let stage = Stage::set("pve-image-url");
    let host = FakePve::start(&stage, "father", 0.0);
    host.call("drop_volume", json!(["local", GIVEN]), json!({}));
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let ask = |name: &str, vmid: u32| {
        let mut ask = machine(name, NodeKind::Vm, Some(vmid));
        ask.extras.image = Some(from("https://images.example/debian-12.qcow2"));
        ask
    };
    // What is fetched is not what the site says: told once, with where to look, and nothing is made.
    let mismatch = "checksum mismatch: got 'cd' != expect 'ab'";
    let fails = json!({ "status": 500, "message": mismatch, "times": 1 });
    host.call("fail", json!(["POST", "/download-url"]), fails);
    let refused = driver.ensure(ask("one", 600)).await.unwrap_err();
    assert!(!refused.retryable && refused.message.contains("checksum mismatch"), "{refused}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("site.yaml")), "{refused:?}");
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());

    let (one, two) = tokio::join!(driver.ensure(ask("one", 600)), driver.ensure(ask("two", 601)));
    one.unwrap();
    two.unwrap();
    let asked: Vec<String> = host.changes().into_iter().filter(|line| line.contains("download-url")).collect();
    assert_eq!(asked.len(), 2, "the one that failed, and one for both: {asked:#?}");
    let wanted = ["content=import", "checksum-algorithm=sha512", "filename=debian-12.qcow2", "images.example"];
    assert!(wanted.iter().all(|part| asked[1].contains(part)), "{}", asked[1]);
}

#[tokio::test]
async fn a_storage_that_takes_no_snippets_is_told_to_or_the_line_to_run_is_told() {
    if !fakepve::is_installed("a_storage_that_takes_no_snippets_is_told_to_or_the_line_to_run_is_told") {
        return;
    }
    let stage = Stage::set("pve-snippets");
    let host = FakePve::start(&stage, "father", 0.0);
    let mut local = host.call("storage_of", json!(["local"]), json!({}));
    local["content"] = json!("iso,vztmpl,backup,import");
    host.call("set_storage", json!(["local", local]), json!({}));
    let denied =
        json!({ "status": 403, "message": "Permission check failed (/storage/local, Datastore.Allocate)", "times": 1 });
    host.call("fail", json!(["PUT", "/storage/local"]), denied);
    let refused = {
        let driver = Driver::open(&host, &stage.folder().join("state"));
        driver.ensure(machine("one", NodeKind::Vm, Some(600))).await.unwrap_err()
    };
    let line = "pvesm set local --content iso,vztmpl,backup,import,snippets";
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains(line)), "{refused:?}");
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new(), "nothing is made that could not start");
    let driver = Driver::open(&host, &stage.folder().join("state"));
    driver.ensure(machine("one", NodeKind::Vm, Some(600))).await.unwrap();
    driver.ensure(machine("two", NodeKind::Vm, Some(601))).await.unwrap();
    let changed: Vec<String> = host.changes().into_iter().filter(|line| line.starts_with("PUT /storage")).collect();
    assert_eq!(changed.len(), 2, "once refused, once done, and not again: {changed:?}");
    let now = host.call("storage_of", json!(["local"]), json!({}));
    assert_eq!(now["content"].as_str().map(|content| content.contains("snippets")), Some(true), "{now}");
}
