//! Every tree of the catalogue, one fake host for each host in it (ST-3, ST-4, ST-5 and ST-8 of the seed's system tests).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homestak_tests::binaries::binaries;
use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve, Seen};
use homestak_tests::guests::{Guests, HostAgent, described, injected, user_data};
use homestak_tests::stage::Stage;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::trees::is_empty;

/// What is built, and which guests then are on which host.
struct Tree {
    manifest: &'static str,
    guests: &'static [(&'static str, &'static [&'static str])],
    /// Those that fetch their spec; the others are given it.
    pulls: &'static [&'static str],
}

const ONE: &[(&str, &[&str])] = &[("father", &["edge"])];
const TWO: &[(&str, &[&str])] = &[("father", &["root-pve"]), ("root-pve", &["edge"])];
const BOTH: &[(&str, &[&str])] = &[("father", &["root-pve"]), ("root-pve", &["edge", "app"])];
const THREE: &[(&str, &[&str])] = &[("father", &["root-pve"]), ("root-pve", &["leaf-pve"]), ("leaf-pve", &["edge"])];

const TREES: [Tree; 7] = [
    Tree { manifest: "n1-push", guests: ONE, pulls: &[] },
    Tree { manifest: "n1-pull", guests: ONE, pulls: &["edge"] },
    Tree { manifest: "n2-push", guests: TWO, pulls: &[] },
    Tree { manifest: "n2-tiered", guests: TWO, pulls: &["edge"] },
    Tree { manifest: "n2-mixed", guests: BOTH, pulls: &["edge"] },
    Tree { manifest: "n2-default-pull", guests: BOTH, pulls: &["edge", "app"] },
    Tree { manifest: "n3-deep", guests: THREE, pulls: &[] },
];

/// Two levels, where only the manifest as a whole says that specs are fetched.
const DEFAULT_PULL: &str = "
schema_version: 2
name: n2-default-pull
pattern: tiered
execution: {default_mode: pull}
nodes:
  - {name: root-pve, type: pve, spec: pve, preset: vm-large, image: debian-13-pve, vmid: 99011, disk: 64}
  - {name: edge, type: vm, spec: base, preset: vm-small, image: debian-12, vmid: 99021, parent: root-pve}
  - {name: app, type: vm, spec: base, preset: vm-xsmall, image: debian-12, vmid: 99022, parent: root-pve}
";

/// The hosts, and how many requests each had seen when a tree was begun.
struct Watched<'a> {
    hosts: &'a [Arc<FakePve>],
    before: Vec<usize>,
}

impl<'a> Watched<'a> {
    fn new(hosts: &'a [Arc<FakePve>]) -> Self {
        Self { hosts, before: hosts.iter().map(|host| host.seen().len()).collect() }
    }

    /// When the first request came that is like this.
    #[track_caller]
    fn when(&self, host: &str, method: &str, end: &str) -> f64 {
        let (host, before) = self.hosts.iter().zip(&self.before).find(|(one, _)| one.node == host).unwrap();
        let is = |seen: &&Seen| {
            let path = seen.line.split([' ', '?']).nth(1).unwrap_or_default();
            seen.line.starts_with(method) && path.ends_with(end)
        };
        let seen: Vec<Seen> = host.seen().into_iter().skip(*before).collect();
        seen.iter().find(is).unwrap_or_else(|| panic!("{} saw no {method} …{end}", host.node)).at
    }
}

/// Trees of one to three levels, by push, pull and both, applied and destroyed twice, and tested.
#[test]
fn every_tree_of_the_catalogue_is_built_tested_and_destroyed_level_by_level() {
    if !fakepve::is_installed("every_tree_of_the_catalogue_is_built_tested_and_destroyed_level_by_level") {
        return;
    }
    let stage = Stage::set("pve-trees");
    let hosts: Vec<_> =
        ["father", "root-pve", "leaf-pve"].map(|node| Arc::new(FakePve::start(&stage, node, 0.0))).into();
    let agent = HostAgent::join(&stage, &hosts[0], &[]);
    let _guests = Guests::keep(&stage, &hosts, &[]);
    let written = stage.file("default-pull.yaml", DEFAULT_PULL).display().to_string();
    for tree in TREES {
        let manifest = if tree.manifest == "n2-default-pull" { &written } else { tree.manifest };
        let watched = Watched::new(&hosts);
        let built = stage.json(0, &["apply", manifest, "-H", "father"]);
        all(&built, "status", "completed");
        all(&built, "action", "created");
        is_as_ordered(&stage, &hosts, &agent, &tree, &built);
        for (above, guest, below) in nested(&tree) {
            let started = watched.when(above, "POST", &format!("/{}/status/start", node(&built, guest)["vm_id"]));
            let made = watched.when(guest, "POST", "/qemu");
            assert!(made > started, "{}: {below:?} before {guest} was started", tree.manifest);
        }
        let changes: Vec<_> = hosts.iter().map(|host| host.changes()).collect();
        let again = stage.json(0, &["apply", manifest, "-H", "father"]);
        let changed = || hosts.iter().map(|host| host.changes()).collect::<Vec<_>>();
        assert_eq!(changed(), changes, "{}: nothing is changed on a host", tree.manifest);
        all(&again, "action", "unchanged");
        assert_eq!(again["context"], built["context"], "{}: ids and addresses stay", tree.manifest);

        let watched = Watched::new(&hosts);
        stage.json(0, &["destroy", tree.manifest, "-H", "father", "--yes"]);
        is_empty(&hosts);
        for (above, guest, below) in nested(&tree) {
            let gone = watched.when(above, "DELETE", &format!("/{}", node(&built, guest)["vm_id"]));
            for inner in below {
                let vmid = &node(&built, inner)["vm_id"];
                assert!(watched.when(guest, "DELETE", &format!("/{vmid}")) < gone, "{}: {inner}", tree.manifest);
            }
        }
        let changes = changed();
        stage.json(0, &["destroy", tree.manifest, "-H", "father", "--yes"]);
        assert_eq!(changed(), changes, "{}: what is gone is not destroyed again", tree.manifest);
        let tested = stage.json(0, &["test", manifest, "-H", "father"]);
        assert_eq!(tested["success"], true, "{tested:#}");
        is_empty(&hosts);
    }
}

/// The hosts inside hosts: on which each is, and what is in it.
fn nested(tree: &Tree) -> impl Iterator<Item = (&'static str, &'static str, &'static [&'static str])> {
    let carries = |guest: &&str| tree.guests.iter().find(|(host, _)| host == guest).map(|(_, below)| *below);
    let all = tree.guests.iter().flat_map(|(host, guests)| guests.iter().map(move |guest| (*host, guest)));
    let found: Vec<_> = all.filter_map(|(host, guest)| Some((host, *guest, carries(guest)?))).collect();
    found.into_iter()
}

/// What is on each host is what was ordered, told who its parent is, and configured in its mode.
fn is_as_ordered(stage: &Stage, hosts: &[Arc<FakePve>], agent: &HostAgent, tree: &Tree, built: &Value) {
    let host = |name: &str| hosts.iter().find(|host| host.node == name).unwrap();
    for (name, wanted) in tree.guests {
        let guests = host(name).guests();
        let found: BTreeSet<&str> = guests.iter().map(|guest| guest["name"].as_str().unwrap()).collect();
        assert_eq!(
            (found.len(), found),
            (guests.len(), wanted.iter().copied().collect()),
            "{} on {name}",
            tree.manifest
        );
        let parent = tree.guests.iter().find(|(_, below)| below.contains(name)).map(|(above, _)| *above);
        let parent = parent.map_or_else(|| agent.state(), |above| Guests::state(stage, host(above), name));
        for guest in &guests {
            let node = node(built, guest["name"].as_str().unwrap());
            let name = node["name"].as_str().unwrap();
            assert_eq!((&guest["vmid"], &guest["status"]), (&node["vm_id"], &json!("running")));
            let context = ["vm_id", "ip"].map(|key| &built["context"][format!("{name}_{key}")]);
            assert_eq!(context, [&node["vm_id"], &node["ip"]], "{built:#}");
            assert!(node["ip"].is_string(), "{node:#}");
            let facts = described(guest["config"]["description"].as_str().unwrap());
            assert_eq!(facts.get("homestak").map(String::as_str), node["path"].as_str());
            let on = host(guest["node"].as_str().unwrap());
            let told = injected(&on.snippets, name);
            assert_eq!(told.contains_key("HOMESTAK_PROVIDER"), node["type"] == "pve", "{told:?}");
            is_told_its_parent(on, name, &parent);
            let log = fs::read_to_string(Guests::state(stage, on, name).with_file_name("log")).unwrap();
            let pulled = log.matches("the parent gave the spec").count();
            let due = usize::from(tree.pulls.contains(&name));
            assert_eq!(pulled, due, "{}: {name} fetches its spec or is given it\n{log}", tree.manifest);
        }
    }
    for host in hosts {
        assert_eq!(host.state()["paths"], json!([]), "a disk comes by a volume's id");
    }
}

/// The guest of this name fetches the agent of the host that carries it, from where that agent listens, under that agent's
/// CA, and runs nothing else.
pub(crate) fn is_told_its_parent(host: &FakePve, name: &str, parent: &Path) {
    let file = |path: &str| user_data(&host.snippets, name, path).unwrap_or_else(|| panic!("{name} has no {path}"));
    let told = injected(&host.snippets, name);
    let told = |key: &str| told.get(key).unwrap_or_else(|| panic!("{name} is not told {key}")).as_str();
    let port = fs::read_to_string(parent.join("port")).unwrap();
    let servers: Vec<&str> = told("HOMESTAK_SERVER").split(',').collect();
    let is_parents = |server: &&str| server.rsplit(':').next() == Some(port.trim());
    assert!(servers.iter().all(is_parents), "{name} on {} is told {servers:?}, not port {port}", host.node);
    let hash =
        |bytes: &[u8]| digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let script = file("/usr/local/sbin/homestak-get-agent");
    let own = hash(&fs::read(&binaries().agent).unwrap());
    assert!(script.contains(&format!("\nwanted={own}\n")), "{own}: {script}");
    assert!(servers.iter().all(|server| script.contains(server)), "{script}");
    let pem = file("/etc/homestak/ca.pem");
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let der = STANDARD.decode(lines.collect::<String>()).unwrap();
    assert_eq!(told("HOMESTAK_CA"), format!("sha256:{}", hash(&der)), "the CA that the program comes under");
}
