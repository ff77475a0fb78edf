//! Ids that several want at once: PVE decides by what it takes, and whoever comes second takes another.

use std::collections::BTreeSet;
use std::sync::Arc;

use homestak_node::world::Ensure;
use homestak_protocol::ids::SiteId;
use homestak_protocol::order::NodeKind;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::described;
use homestak_tests::stage::Stage;
use serde_json::json;
use tokio::task::JoinSet;

use crate::provider::{Driver, machine};

/// How many machines each of two sites makes.
const MACHINES: usize = 20;
/// A guest that the token may not see.
const HIDDEN: u64 = 105;

fn of_site(bits: u128, name: &str) -> Ensure {
    let mut ask = machine(name, NodeKind::Vm, None);
    ask.tree.site = SiteId::from_bits(bits);
    ask
}

#[tokio::test]
async fn two_sites_that_make_machines_on_one_host_at_once_get_an_id_for_each() {
    if !fakepve::is_installed("two_sites_that_make_machines_on_one_host_at_once_get_an_id_for_each") {
        return;
    }
    let stage = Stage::set("pve-ids");
    let host = FakePve::start(&stage, "father", 1.0);
    host.set("task_secs", json!({ "qmcreate": 0.2 }));
    host.call("add_vm", json!([HIDDEN, "hidden"]), json!({ "node": "father", "status": "running" }));
    host.set("hidden", json!([HIDDEN]));
    let theirs = host.guest("hidden");
    let mut all = JoinSet::new();
    for (site, name) in [(1, "ours"), (2, "theirs")] {
        let driver = Arc::new(Driver::open(&host, &stage.folder().join(name)));
        for n in 0..MACHINES {
            let (driver, ask) = (Arc::clone(&driver), of_site(site, &format!("{name}-{n}")));
            all.spawn(async move { (ask.path.to_string(), driver.ensure(ask).await.unwrap().vmid) });
        }
    }
    let mut made = BTreeSet::new();
    while let Some(ensured) = all.join_next().await {
        let (path, vmid) = ensured.unwrap();
        made.insert((path, u64::from(vmid.unwrap().number())));
    }
    assert_eq!(host.guest("hidden"), theirs, "what cannot be seen is not touched");
    let guests: Vec<_> = host.guests().into_iter().filter(|guest| guest["name"] != "hidden").collect();
    let there: BTreeSet<_> = guests
        .iter()
        .map(|guest| {
            let facts = described(guest["config"]["description"].as_str().unwrap());
            (facts["homestak"].clone(), guest["vmid"].as_u64().unwrap())
        })
        .collect();
    assert_eq!((guests.len(), there.len()), (2 * MACHINES, 2 * MACHINES), "none twice, none lost");
    assert_eq!(there, made, "each is told the id that its guest has");
    assert!(guests.iter().all(|guest| guest["status"] == "running"), "{guests:#?}");
    let ids: BTreeSet<u64> = there.iter().map(|(_, vmid)| *vmid).collect();
    assert_eq!(ids.len(), 2 * MACHINES);
    let refused: Vec<String> = host
        .seen()
        .into_iter()
        .filter(|seen| seen.line.starts_with("POST /nodes/father/qemu vmid="))
        .filter(|seen| seen.said.as_ref().is_some_and(|said| said.contains("already exists")))
        .map(|seen| seen.line.split('&').next().unwrap_or_default().to_owned())
        .collect();
    let of_hidden = format!("POST /nodes/father/qemu vmid={HIDDEN}");
    assert!(refused.contains(&of_hidden), "somebody tried the id that is taken unseen: {refused:?}");
    assert!(refused.iter().any(|line| *line != of_hidden), "two have tried one id: {refused:?}");
}
