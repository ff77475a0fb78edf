//! Every error that PVE's sources have for the calls that we make, one by one: the class that it belongs to and what must come
//! of it are in `fakepve/faults.txt`, beforehand. An error that the fake's catalogue has and the table has not fails the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use homestak_agent::provider::Provider as _;
use homestak_agent::provider::pve::Class;
use homestak_node::source::Stock;
use homestak_protocol::extras::{Checksum, ImageSource};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::NodeKind;
use homestak_tests::binaries::workspace;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};

use crate::provider::{Driver, identity, machine};

/// What we call, and in which part of a machine's life.
const CALLS: [(&str, &str, Part); 31] = [
    ("GET", "/cluster/resources", Part::Make),
    ("GET", "/cluster/nextid", Part::Free),
    ("GET", "/nodes/{node}/storage", Part::Make),
    ("GET", "/nodes/{node}/storage/{storage}/content", Part::Make),
    ("GET", "/nodes/{node}/qemu/{vmid}/pending", Part::Make),
    ("GET", "/nodes/{node}/qemu/{vmid}/status/current", Part::Make),
    ("GET", "/nodes/{node}/tasks/{upid}/status", Part::Make),
    ("POST", "/nodes/{node}/qemu", Part::Make),
    ("PUT", "/nodes/{node}/qemu/{vmid}/resize", Part::Make),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/start", Part::Make),
    ("PUT", "/nodes/{node}/qemu/{vmid}/config", Part::Change),
    ("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", Part::Look),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", Part::Destroy),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/stop", Part::Kill),
    ("DELETE", "/nodes/{node}/qemu/{vmid}", Part::Destroy),
    ("GET", "/nodes/{node}/tasks", Part::Doubt),
    ("GET", "/storage", Part::Fetch),
    ("POST", "/nodes/{node}/storage/{storage}/download-url", Part::Fetch),
    ("PUT", "/storage/{storage}", Part::Allow),
    ("GET", "/nodes/{node}/storage/{storage}/content/{volume}", Part::Give),
    ("GET", "/nodes/{node}/tasks/{upid}/log", Part::Log),
    ("GET", "/nodes/{node}/lxc/{vmid}/pending", Part::Make),
    ("GET", "/nodes/{node}/lxc/{vmid}/status/current", Part::Make),
    ("POST", "/nodes/{node}/lxc", Part::Make),
    ("POST", "/nodes/{node}/lxc/{vmid}/status/start", Part::Make),
    ("PUT", "/nodes/{node}/lxc/{vmid}/config", Part::Change),
    ("PUT", "/nodes/{node}/lxc/{vmid}/resize", Part::Grow),
    ("GET", "/nodes/{node}/lxc/{vmid}/interfaces", Part::Look),
    ("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", Part::Destroy),
    ("POST", "/nodes/{node}/lxc/{vmid}/status/stop", Part::Kill),
    ("DELETE", "/nodes/{node}/lxc/{vmid}", Part::Destroy),
];

/// How much a disk grows, in GiB.
const MORE: u64 = 2;

/// An image that is a file.
const GIVEN: &str = "given";

/// The part of a machine's life that a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Make,
    /// Made, with an id that nobody has asked for.
    Free,
    Change,
    /// Given a larger disk.
    Grow,
    Look,
    Destroy,
    /// Destroyed, and the guest does not end by itself.
    Kill,
    /// Made, after a creation whose answer was lost.
    Doubt,
    /// Made from an image that is not there yet.
    Fetch,
    /// Made, where the storage of snippets takes none yet.
    Allow,
    /// Not a machine's: an image is given to a host below.
    Give,
    /// Made, after a creation that failed and said why in its log.
    Log,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    class: String,
    outcome: String,
}

fn table() -> BTreeMap<String, Row> {
    let file = workspace().join("tests/fakepve/faults.txt");
    let text = std::fs::read_to_string(file).expect("the table is there");
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [method, path, name, class, outcome] = cells.as_slice() else { panic!("no row: {line}") };
        let row = Row { class: (*class).to_owned(), outcome: (*outcome).to_owned() };
        (format!("{method} {path} {name}"), row)
    })
    .collect()
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Retryable => "retryable",
        Class::Conflict => "conflict",
        Class::Permission => "permission",
        Class::Gone => "gone",
        Class::Fatal => "fatal",
    }
}

#[tokio::test]
async fn every_error_of_every_call_has_the_outcome_that_was_written_down_for_it() {
    if !fakepve::is_installed("every_error_of_every_call_has_the_outcome_that_was_written_down_for_it") {
        return;
    }
    let stage = Stage::set("pve-faults");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    host.put_image(&format!("{GIVEN}.qcow2"), b"QFI\xfb");
    host.call("add_vm", json!([500, "theirs"]), json!({ "node": "father", "status": "running" }));
    let theirs = host.guest("theirs");
    let table = table();
    let (mut wrong, mut found) = (String::new(), 0);
    for (method, path, part) in CALLS {
        let listed = host.look(&format!("/errors?method={method}&path={path}"));
        for error in listed.as_array().unwrap() {
            found += 1;
            let name = error["name"].as_str().unwrap();
            let key = format!("{method} {path} {name}");
            let driver = Driver::open(&host, &stage.folder().join(format!("state-{found}")));
            let kind = if path.contains("/lxc") { NodeKind::Ct } else { NodeKind::Vm };
            match part {
                // The fake takes the slash in a volume's id for one of the path's.
                Part::Give => {
                    let words = json!({ "status": error["status"], "message": words(error), "times": 1 });
                    host.call("fail", json!([method, format!("import/{GIVEN}.qcow2")]), words)
                }
                _ => host.call("fail", json!([method, path]), json!({ "error": name, "times": 1 })),
            };
            let outcome = lived(&driver, &host, kind, part).await;
            assert_eq!(host.look("/failures"), json!([]), "{key}: it has happened");
            let (class, outcome) = (class_name(class_of(error)), outcome);
            match table.get(&key) {
                Some(row) if row.class == class && row.outcome == outcome => {}
                Some(row) => {
                    let _ = writeln!(wrong, "{key} {class} {outcome}   (the table has {} {})", row.class, row.outcome);
                }
                None => {
                    let _ = writeln!(wrong, "{key} {class} {outcome}   (the table has no such row)");
                }
            }
            // Whatever it was, doing it again does it.
            let mut ask = machine("edge", kind, (part != Part::Free).then_some(600));
            ask.machine.disk_gib += if part == Part::Grow { MORE } else { 0 };
            driver.ensure(ask.clone()).await.unwrap();
            assert_eq!(host.guests().len(), 2, "{key}: none twice");
            driver.destroy(identity(&ask)).await.unwrap();
            assert_eq!(
                host.guests(),
                std::slice::from_ref(&theirs),
                "{key}: nothing is left, and nobody else's was touched"
            );
            assert_eq!(host.snippet_files(), Vec::<String>::new(), "{key}: no token is left behind");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(found, table.len(), "the table has rows for errors that there are not");
}

fn words(error: &Value) -> String {
    let mut words = error["message"].as_str().unwrap_or_default().to_owned();
    for (parameter, why) in error["errors"].as_object().into_iter().flatten() {
        let _ = write!(words, "; {parameter}: {}", why.as_str().unwrap_or_default());
    }
    words
}

fn class_of(error: &Value) -> Class {
    let words = words(error);
    let status = error["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    if error["in_task"] == true { Class::of_task(&words) } else { Class::of(status, &words) }
}

/// Lives a part of a machine's life, in which something goes wrong once: `ok` where that does not matter, `error` where it
/// is told, as one error with a hint.
async fn lived(driver: &Driver, host: &FakePve, kind: NodeKind, part: Part) -> String {
    let ask = machine("edge", kind, Some(600));
    let prepared = async |alive: bool| {
        let failures = host.look("/failures");
        host.set("failures", json!({}));
        driver.ensure(ask.clone()).await.unwrap();
        if !alive {
            // A machine that does not hear, and a container that takes longer than it is given.
            host.set_of(600, "acpi", json!(false));
            host.set_of(600, "shutdown_secs", json!(3600));
        }
        host.call("fail_again", json!([failures]), json!({}));
    };
    let outcome = match part {
        Part::Make => driver.ensure(ask.clone()).await.map(drop),
        Part::Free => driver.ensure(machine("edge", kind, None)).await.map(drop),
        Part::Log => {
            let error = json!({ "error": "quit_powerdown_failed_got_timeout", "times": 1 });
            host.call("fail", json!(["POST", "/nodes/{node}/qemu"]), error);
            driver.ensure(ask.clone()).await.map(drop)
        }
        Part::Give => {
            let shelf = driver.pve.shelf().unwrap();
            shelf.give(Stock::Image(SiteName::parse(GIVEN).unwrap()), Vec::new()).await.map(drop)
        }
        Part::Grow => {
            prepared(true).await;
            let mut more = ask.clone();
            more.machine.disk_gib += MORE;
            driver.ensure(more).await.map(drop)
        }
        Part::Doubt => {
            host.call("lose_answer", json!(["POST", "/qemu"]), json!({}));
            driver.ensure(ask.clone()).await.map(drop)
        }
        Part::Fetch => {
            let mut ask = ask.clone();
            ask.machine.image = Some(SiteName::parse("elsewhere").unwrap());
            let checksum = Checksum::Sha256("ab".repeat(32));
            ask.extras.image = Some(ImageSource { url: "https://images.example/a.qcow2".to_owned(), checksum });
            let made = driver.ensure(ask).await.map(drop);
            host.call("forget_volume", json!(["local", "import/elsewhere.qcow2"]), json!({}));
            made
        }
        Part::Allow => {
            let local = host.call("storage_of", json!(["local"]), json!({}));
            host.call("take_no_snippets", json!([]), json!({}));
            let made = driver.ensure(ask.clone()).await.map(drop);
            host.call("set_storage", json!(["local", local]), json!({}));
            made
        }
        Part::Change => {
            prepared(true).await;
            let mut more = ask.clone();
            more.machine.cores = 2;
            driver.ensure(more).await.map(drop)
        }
        Part::Look => {
            prepared(true).await;
            driver.addresses(identity(&ask)).await.map(drop)
        }
        Part::Destroy => {
            prepared(true).await;
            driver.destroy(identity(&ask)).await
        }
        Part::Kill => {
            prepared(false).await;
            driver.destroy(identity(&ask)).await
        }
    };
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(fault) => {
            assert!(fault.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{fault:?} has no hint");
            assert!(!fault.message.is_empty());
            "error".to_owned()
        }
    }
}
