//! Machines that are not as ordered: somebody has changed them by hand, or the order has.

use std::sync::Arc;

use homestak_agent::provider::Provider as _;
use homestak_node::world::Found;
use homestak_protocol::message::Wanted;
use homestak_protocol::order::NodeKind;
use homestak_tests::document::node;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};

use crate::provider::{Driver, machine, task};

/// A parameter, what somebody makes of it by hand, and how a plan tells it.
type ByHand = (&'static str, fn(&Value) -> Value, &'static str);

const BY_HAND: [ByHand; 4] = [
    ("cores", |_| json!("7"), "cores 7 → "),
    ("memory", |_| json!("512"), "memory 512 MiB → "),
    ("net0", |card| json!(card.as_str().unwrap().replace("vmbr0", "vmbr9")), "bridge vmbr9 → vmbr0"),
    (
        "virtio0",
        |disk| json!(format!("{},size=1G", disk.as_str().unwrap().split(",size=").next().unwrap())),
        "disk 1 GiB → ",
    ),
];

#[test]
fn what_somebody_changed_by_hand_is_told_by_the_plan_and_put_right_by_the_apply() {
    if !fakepve::is_installed("what_somebody_changed_by_hand_is_told_by_the_plan_and_put_right_by_the_apply") {
        return;
    }
    let stage = Stage::set("pve-by-hand");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    stage.json(0, &["apply", "n1-push", "-H", "father"]);
    for (key, change, told) in BY_HAND {
        let guest = host.guest("edge");
        let mut config = guest["config"].clone();
        config[key] = change(&config[key]);
        host.set_of(guest["vmid"].as_u64().unwrap(), "config", config);
        let changes = host.changes();
        let plan = stage.json(0, &["plan", "n1-push", "-H", "father"]);
        let edge = node(&plan, "edge");
        assert_eq!((&edge["action"], &plan["changes"]), (&json!("updated"), &json!(1)), "{key}: {plan:#}");
        assert!(edge["reason"].as_str().unwrap().starts_with(told), "{key}: {edge}");
        assert_eq!(host.changes(), changes, "{key}: a plan changes nothing");
        let applied = stage.json(0, &["apply", "n1-push", "-H", "father"]);
        assert_eq!(node(&applied, "edge")["action"], "updated", "{key}: {applied:#}");
        assert_eq!(host.changes().len(), changes.len() + 1, "{key}: one call puts it right");
        let plan = stage.json(0, &["plan", "n1-push", "-H", "father"]);
        assert_eq!(
            (&node(&plan, "edge")["action"], &plan["changes"]),
            (&json!("unchanged"), &json!(0)),
            "{key}: {plan:#}"
        );
    }
}

#[tokio::test]
async fn another_address_is_given_to_a_container_and_refused_of_a_machine_that_reads_it_once() {
    if !fakepve::is_installed("another_address_is_given_to_a_container_and_refused_of_a_machine_that_reads_it_once") {
        return;
    }
    let stage = Stage::set("pve-addresses");
    let host = FakePve::start(&stage, "father", 0.0);
    let driver = Driver::open(&host, &stage.folder().join("state"));
    for (name, kind) in [("edge", NodeKind::Vm), ("box", NodeKind::Ct)] {
        let mut ask = machine(name, kind, None);
        ask.cloud_init.address = Some("192.0.2.7/24".into());
        ask.cloud_init.gateway = Some("192.0.2.1".into());
        let made = driver.ensure(ask.clone()).await.unwrap();
        assert_eq!(made.ip, Some([192, 0, 2, 7].into()));
        assert_eq!(driver.ensure(ask.clone()).await.unwrap().found, Found::Unchanged);
        ask.cloud_init.address = Some("192.0.2.8/24".into());
        let wanted = Wanted {
            path: ask.path.clone(),
            machine: ask.machine.clone(),
            address: ask.cloud_init.address.clone(),
            gateway: ask.cloud_init.gateway.clone(),
        };
        let differing = driver.pve.compare(ask.tree.clone(), vec![wanted.clone()], task()).await.unwrap();
        assert!(differing[0].what[0].starts_with("address 192.0.2.7/24 → 192.0.2.8/24"), "{differing:?}");
        let before = host.snippet_files();
        match kind {
            NodeKind::Ct => {
                assert_eq!(driver.ensure(ask.clone()).await.unwrap().found, Found::Updated);
                let guest = host.guest(name);
                let card = guest["pending"].get("net0").unwrap_or(&guest["config"]["net0"]).to_string();
                assert!(card.contains("ip=192.0.2.8/24") && card.contains("gw=192.0.2.1"), "{card}");
                let differing = driver.pve.compare(ask.tree.clone(), vec![wanted], task()).await.unwrap();
                assert_eq!(differing, Vec::new());
            }
            _ => {
                let changes = host.changes();
                let refused = driver.ensure(ask.clone()).await.unwrap_err();
                assert!(refused.message.contains("192.0.2.7/24 → 192.0.2.8/24"), "{refused}");
                assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("destroy edge first")), "{refused:?}");
                assert_eq!((host.changes(), host.snippet_files()), (changes, before), "nothing is changed");
                // Another life reads it.
                ask.incarnation = homestak_protocol::ids::Incarnation::from_bits(2);
                assert_eq!(driver.ensure(ask).await.unwrap().found, Found::Adopted);
            }
        }
    }
}
