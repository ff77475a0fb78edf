//! Machines that the cluster has moved to another of its nodes: whatever is asked about one goes to the node that has it.

use homestak_agent::provider::Provider as _;
use homestak_node::world::Found;
use homestak_protocol::order::NodeKind;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::json;

use crate::provider::{Driver, identity, machine, task};

#[tokio::test]
async fn a_machine_that_was_moved_is_looked_at_changed_and_destroyed_where_it_is() {
    if !fakepve::is_installed("a_machine_that_was_moved_is_looked_at_changed_and_destroyed_where_it_is") {
        return;
    }
    let stage = Stage::set("pve-moved");
    let host = FakePve::start(&stage, "father", 0.0);
    host.set("nodes", json!({ "father": { "online": true }, "second": { "online": true } }));
    for (kind, vmid) in [(NodeKind::Vm, 600), (NodeKind::Ct, 601)] {
        let driver = Driver::open(&host, &stage.folder().join(format!("state-{vmid}")));
        let mut ask = machine("edge", kind, Some(vmid));
        driver.ensure(ask.clone()).await.unwrap();
        host.set_of(u64::from(vmid), "node", json!("second"));
        let before = host.requests().len();
        let sight = driver.pve.sight(identity(&ask), task()).await.unwrap().unwrap();
        assert_eq!(sight.power, "running", "it is found where it is");
        ask.machine.cores = 2;
        assert_eq!(driver.ensure(ask.clone()).await.unwrap().found, Found::Updated);
        assert_eq!(driver.ensure(ask.clone()).await.unwrap().found, Found::Unchanged);
        driver.destroy(identity(&ask)).await.unwrap();
        assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
        let noun = if kind == NodeKind::Ct { "lxc" } else { "qemu" };
        let asked = host.requests().split_off(before);
        let of_it: Vec<&String> = asked.iter().filter(|line| line.contains(&format!("/{noun}/{vmid}"))).collect();
        let elsewhere: Vec<_> =
            of_it.iter().filter(|line| !line.contains(&format!("/nodes/second/{noun}/{vmid}"))).collect();
        // The record says where it was made: that is where it is looked for first.
        assert!(elsewhere.iter().all(|line| line.ends_with("/status/current")), "{elsewhere:#?}");
        for change in ["PUT", "POST", "DELETE"] {
            assert!(of_it.iter().any(|line| line.starts_with(change)), "{change}: {of_it:#?}");
        }
    }
}
