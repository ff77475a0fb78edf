//! What a real cluster does to a client: connections that break, locks of others, lost quorum, full storages, tokens that
//! are not what they were. Each has what must come of it written beside it.

use std::time::Duration;

use homestak_agent::provider::Provider as _;
use homestak_protocol::extras::{Checksum, ImageSource};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::name::SiteName;
use homestak_protocol::order::NodeKind;
use homestak_protocol::privilege;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::provider::{Driver, identity, machine, task};

/// Whose token it is.
const TOKEN: &str = "homestak@pve!agent";

struct Weather {
    name: &'static str,
    begin: fn(&FakePve),
    /// What ends it while it is waited for.
    end: Option<fn(&FakePve)>,
    /// The error's code and a part of its hint; none where it passes unnoticed.
    outcome: Option<(&'static str, &'static str)>,
}

fn fails(host: &FakePve, method: &str, suffix: &str, status: u16, message: &str, times: u32) {
    host.call("fail", json!([method, suffix]), json!({ "status": status, "message": message, "times": times }));
}

const WEATHERS: &[Weather] = &[
    Weather {
        name: "a lock that another task holds for a while",
        begin: |host| fails(host, "POST", "/qemu", 500, "can't lock file '/var/lock/x' - got timeout", 3),
        end: None,
        outcome: None,
    },
    Weather {
        name: "599",
        begin: |host| fails(host, "POST", "/qemu", 599, "Too many redirections", 2),
        end: None,
        outcome: None,
    },
    Weather {
        name: "596",
        begin: |host| fails(host, "GET", "/resources", 596, "Broken pipe", 2),
        end: None,
        outcome: None,
    },
    Weather {
        name: "a proxy's page instead of an answer",
        begin: |host| {
            let html = json!({ "status": 502, "message": "<h1>Bad Gateway</h1>", "html": true, "times": 2 });
            host.call("fail", json!(["POST", "/qemu"]), html);
        },
        end: None,
        outcome: None,
    },
    Weather {
        name: "the answer to the creation is lost",
        begin: |host| drop(host.call("lose_answer", json!(["POST", "/qemu"]), json!({}))),
        end: None,
        outcome: None,
    },
    Weather {
        name: "the answer to the start is lost",
        begin: |host| drop(host.call("lose_answer", json!(["POST", "/status/start"]), json!({}))),
        end: None,
        outcome: None,
    },
    Weather {
        name: "one connection in five breaks",
        begin: |host| drop(host.call("flaky_network", json!([]), json!({ "drop_rate": 0.2 }))),
        end: None,
        outcome: None,
    },
    Weather {
        name: "the quorum is lost for a while",
        begin: |host| drop(host.call("lose_quorum", json!([]), json!({}))),
        end: Some(|host| drop(host.call("regain_quorum", json!([]), json!({})))),
        outcome: None,
    },
    Weather {
        name: "the node is away for a while",
        begin: |host| drop(host.call("set_node_offline", json!(["father"]), json!({}))),
        end: Some(|host| drop(host.call("set_node_offline", json!(["father", false]), json!({})))),
        outcome: None,
    },
    Weather {
        name: "a full storage",
        begin: |host| {
            let storage =
                json!({ "type": "lvmthin", "active": 1, "content": "images,rootdir", "avail": 1024, "vgname": "pve" });
            host.call("set_storage", json!(["local-lvm", storage]), json!({}));
        },
        end: None,
        outcome: Some(("E701", "make room on that storage")),
    },
    Weather {
        name: "a token that is no longer valid",
        begin: |host| host.set("apitokens", json!({})),
        end: None,
        outcome: Some(("E701", "API token is unknown, expired or wrong")),
    },
    Weather {
        name: "a token that may only look",
        begin: |host| {
            drop(host.call("grant", json!([TOKEN, "/", "VM.Audit", "Sys.Audit", "Datastore.Audit"]), json!({})))
        },
        end: None,
        outcome: Some(("E701", "pveum acl modify")),
    },
];

#[tokio::test]
async fn what_passes_is_waited_for_and_what_does_not_is_one_error_with_a_hint() {
    if !fakepve::is_installed("what_passes_is_waited_for_and_what_does_not_is_one_error_with_a_hint") {
        return;
    }
    let stage = Stage::set("pve-weather");
    for (number, weather) in WEATHERS.iter().enumerate() {
        let host = FakePve::start(&stage, "father", 0.0);
        let storage = host.call("storage_of", json!(["local-lvm"]), json!({}));
        let tokens = json!({ TOKEN: "00000000-0000-4000-8000-000000000001" });
        host.call("add_vm", json!([500, "theirs"]), json!({ "node": "father", "status": "running" }));
        let driver = Driver::open(&host, &stage.folder().join(format!("state-{number}")));
        let ask = machine("edge", NodeKind::Vm, None);
        (weather.begin)(&host);
        let making = driver.ensure(ask.clone());
        let outcome = match weather.end {
            None => making.await,
            Some(end) => {
                let later = async {
                    tokio::time::sleep(Duration::from_millis(1200)).await;
                    end(&host);
                };
                tokio::join!(making, later).0
            }
        };
        match (weather.outcome, outcome) {
            (None, made) => drop(made.unwrap_or_else(|fault| panic!("{}: {fault}", weather.name))),
            (Some((code, hint)), Err(fault)) => {
                assert_eq!((fault.code.as_str(), fault.retryable), (code, false), "{}: {fault}", weather.name);
                assert!(fault.hint.as_ref().is_some_and(|text| text.contains(hint)), "{}: {fault:?}", weather.name);
            }
            (Some(_), Ok(_)) => panic!("{}: it went unnoticed", weather.name),
        }
        // It clears up.
        host.set("apitokens", tokens);
        host.set("acl", Value::Null);
        host.call("set_storage", json!(["local-lvm", storage]), json!({}));
        host.call("flaky_network", json!([]), json!({}));
        driver.ensure(ask.clone()).await.unwrap();
        assert_eq!(host.guests().len(), 2, "{}: none twice", weather.name);
        driver.destroy(identity(&ask)).await.unwrap();
        let left = host.guests();
        assert_eq!((left.len(), &left[0]["name"]), (1, &json!("theirs")), "{}", weather.name);
    }
}

#[tokio::test]
async fn the_privileges_that_are_asked_for_are_enough() {
    if !fakepve::is_installed("the_privileges_that_are_asked_for_are_enough") {
        return;
    }
    let stage = Stage::set("pve-privileges");
    let host = FakePve::start(&stage, "father", 0.0);
    let token = privilege::token_id();
    let grant = |grant: &privilege::Grant| {
        let words = [token.as_str(), &grant.path].into_iter().chain(grant.privileges.iter().copied());
        host.call("grant", json!(words.collect::<Vec<&str>>()), json!({}));
    };
    let [everywhere, snippets] = privilege::grants(9, privilege::SNIPPETS);
    grant(&everywhere);
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let mut fetched = machine("fetched", NodeKind::Vm, None);
    fetched.machine.image = Some(SiteName::parse("debian-14").unwrap());
    fetched.extras.image = Some(ImageSource {
        url: "https://images.example/debian-14.qcow2".to_owned(),
        checksum: Checksum::Sha256("ab".repeat(32)),
    });
    let refused = driver.ensure(fetched.clone()).await.unwrap_err();
    assert!(refused.message.contains("missing privileges to access local:snippets/fetched-"), "{refused}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("HomestakSnippets")), "{refused:?}");
    grant(&snippets);
    driver.ensure(fetched.clone()).await.unwrap();
    driver.destroy(identity(&fetched)).await.unwrap();
    for (name, kind) in [("edge", NodeKind::Vm), ("root-pve", NodeKind::Pve)] {
        let mut ask = machine(name, kind, None);
        driver.ensure(ask.clone()).await.unwrap();
        ask.machine.memory_mib = 2048;
        ask.machine.disk_gib = 8;
        driver.ensure(ask.clone()).await.unwrap();
        let _unknown = driver.addresses(identity(&ask)).await.unwrap();
        assert_eq!(driver.pve.list_owned(task()).await.unwrap().len(), 1);
        driver.destroy(identity(&ask)).await.unwrap();
    }
    let doc = std::fs::read_to_string(homestak_tests::binaries::workspace().join("docs/proxmox.md")).unwrap();
    for line in privilege::by_hand(9, privilege::SNIPPETS) {
        assert!(doc.lines().any(|told| told.trim() == line), "docs/proxmox.md lacks: {line}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_its_task_and_the_next_one_waits_for_it() {
    if !fakepve::is_installed("a_call_that_is_given_up_leaves_its_task_and_the_next_one_waits_for_it") {
        return;
    }
    let stage = Stage::set("pve-cancelled");
    let mut host = FakePve::start(&stage, "father", 1.0);
    host.parallel = 1;
    host.set("task_secs", json!({ "qmcreate": 1.5 }));
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let (ask, other) = (machine("edge", NodeKind::Vm, None), machine("other", NodeKind::Vm, None));
    let cancel = CancellationToken::new();
    let mut given_up = task();
    given_up.cancel = cancel.clone();
    let (refused, ()) = tokio::join!(driver.pve.ensure_machine(ask.clone(), given_up), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.cancel();
    });
    assert_eq!(refused.unwrap_err().code.as_str(), "E712");
    assert_eq!(host.guests().len(), 1, "PVE goes on");
    // One at once is one at once, whether anybody waits for it or not.
    driver.ensure(other).await.unwrap();
    assert_eq!(host.state()["at_once"]["qmcreate"], 1);
    driver.ensure(ask.clone()).await.unwrap();
    assert_eq!((host.guests().len(), host.guest("edge")["status"].as_str()), (2, Some("running")));
    let creations = host.changes().into_iter().filter(|line| line.starts_with("POST /nodes/father/qemu vmid")).count();
    assert_eq!(creations, 2, "{:#?}", host.changes());
}

#[tokio::test]
async fn what_is_not_as_ordered_is_put_right_in_place() {
    if !fakepve::is_installed("what_is_not_as_ordered_is_put_right_in_place") {
        return;
    }
    let stage = Stage::set("pve-drift");
    let host = FakePve::start(&stage, "father", 0.0);
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let mut ask = machine("edge", NodeKind::Vm, Some(600));
    driver.ensure(ask.clone()).await.unwrap();
    (ask.machine.cores, ask.machine.memory_mib, ask.machine.disk_gib) = (3, 4096, 9);
    ask.machine.bridge = Some("vmbr7".into());
    let found = driver.ensure(ask.clone()).await.unwrap();
    assert_eq!(found.found, homestak_node::world::Found::Updated);
    let guest = host.guest("edge");
    // What a running guest cannot take at once waits in PVE for its next start, as PVE shows it.
    let value = |key: &str| match &guest["pending"][key] {
        Value::Null => guest["config"][key].clone(),
        waiting => waiting.clone(),
    };
    assert_eq!((value("cores"), value("memory")), (json!("3"), json!("4096")));
    assert!(value("net0").as_str().unwrap().contains("bridge=vmbr7"));
    assert!(value("virtio0").as_str().unwrap().contains("size=9G"), "{guest:#}");
    let again = driver.ensure(ask.clone()).await.unwrap();
    assert_eq!(again.found, homestak_node::world::Found::Unchanged);
    // What cannot be done is refused before anything else is.
    (ask.machine.disk_gib, ask.machine.cores, ask.incarnation) = (2, 4, Incarnation::from_bits(2));
    let before = (host.changes(), host.guest("edge"));
    let refused = driver.ensure(ask).await.unwrap_err();
    assert!(refused.message.contains("cannot shrink") && refused.hint.is_some(), "{refused:?}");
    assert_eq!((host.changes(), host.guest("edge")), before);
}

#[tokio::test]
async fn a_creation_that_is_on_its_way_when_it_is_given_up_is_nobody_elses_and_counts() {
    if !fakepve::is_installed("a_creation_that_is_on_its_way_when_it_is_given_up_is_nobody_elses_and_counts") {
        return;
    }
    let stage = Stage::set("pve-on-its-way");
    let mut host = FakePve::start(&stage, "father", 1.0);
    host.parallel = 1;
    host.set("task_secs", json!({ "qmcreate": 0.5 }));
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let (ask, other) = (machine("edge", NodeKind::Vm, Some(600)), machine("other", NodeKind::Vm, Some(601)));
    let cancel = CancellationToken::new();
    let mut given_up = task();
    given_up.cancel = cancel.clone();
    host.call("late", json!(["POST", "/qemu", 1.0]), json!({}));
    let on_its_way = async {
        while !host.requests().iter().any(|line| line.starts_with("POST /nodes/father/qemu ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (refused, ()) = tokio::join!(driver.pve.ensure_machine(ask.clone(), given_up), on_its_way);
    assert_eq!(refused.unwrap_err().code.as_str(), "E712");
    assert_eq!(host.guests(), Vec::<Value>::new(), "PVE has not begun yet");
    // Whoever destroys it waits for what is on its way, and another machine for its room.
    let (destroyed, made) = tokio::join!(driver.destroy(identity(&ask)), driver.ensure(other));
    destroyed.unwrap();
    made.unwrap();
    let names: Vec<_> = host.guests().iter().map(|guest| guest["name"].clone()).collect();
    assert_eq!((names, &host.state()["at_once"]["qmcreate"]), (vec![json!("other")], &json!(1)));
}
