//! What the token may do: no less than is needed, and no more.

use homestak_agent::provider::Provider as _;
use homestak_protocol::extras::{Checksum, ImageSource};
use homestak_protocol::fault::Fault;
use homestak_protocol::name::SiteName;
use homestak_protocol::order::NodeKind;
use homestak_protocol::privilege;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};

use crate::provider::{Driver, identity, machine, task};

/// Privileges without which everything here is done all the same, and why they are asked for.
const SPARE: [(&str, &str); 4] = [
    ("VM.Config.CDROM", "a host may take the drive of cloud-init for one; the fake does not while it has no medium"),
    (
        "VM.Config.Cloudinit",
        "for user-data; PVE takes VM.Config.Network as well (qemu-server, check_vm_modify_config_perm)",
    ),
    ("Datastore.Audit", "for images; PVE takes Datastore.AllocateSpace as well (pve-storage, check_volume_access)"),
    ("Sys.Audit", "for tasks that somebody else has begun: without it they are met as locks"),
];

/// What comes of each part of a machine's life.
async fn lived(host: &FakePve, driver: &Driver, kind: NodeKind) -> Vec<String> {
    fn word<T>(result: Result<T, Fault>, show: impl Fn(T) -> String) -> String {
        result.map_or_else(|fault| format!("{}: {}", fault.code.as_str(), fault.message), show)
    }
    let mut ask = machine("edge", kind, Some(600));
    if kind == NodeKind::Vm {
        let checksum = Checksum::Sha256("ab".repeat(32));
        ask.machine.image = Some(SiteName::parse("debian-14").unwrap());
        ask.extras.image = Some(ImageSource { url: "https://images.example/debian-14.qcow2".to_owned(), checksum });
    }
    let mut told = vec![word(driver.ensure(ask.clone()).await, |made| format!("{:?}", made.found))];
    if host.guests().iter().any(|guest| guest["kind"] == "qemu") {
        let card = json!([{ "name": "eth0", "ip-addresses": [{ "ip-address": "192.0.2.10" }] }]);
        host.set_of(600, "agent", json!({ "interfaces": card }));
    }
    (ask.machine.cores, ask.machine.memory_mib, ask.machine.disk_gib) = (2, 2048, 8);
    ask.machine.bridge = Some("vmbr1".into());
    told.push(word(driver.ensure(ask.clone()).await, |made| format!("{:?}", made.found)));
    told.push(word(driver.addresses(identity(&ask)).await, |addresses| format!("{addresses:?}")));
    told.push(word(driver.pve.list_owned(task()).await, |owned| owned.len().to_string()));
    told.push(word(driver.destroy(identity(&ask)).await, |()| "destroyed".to_owned()));
    told
}

async fn both(host: &FakePve, stage: &Stage, without: &str) -> Vec<String> {
    let token = privilege::token_id();
    host.set("acl", Value::Null);
    for guests in ["vms", "cts"] {
        host.set(guests, json!([]));
    }
    host.call("forget_volume", json!(["local", "import/debian-14.qcow2"]), json!({}));
    for grant in privilege::grants(9, privilege::SNIPPETS) {
        let names = grant.privileges.iter().copied().filter(|name| *name != without);
        let words: Vec<&str> = [token.as_str(), &grant.path].into_iter().chain(names).collect();
        host.call("grant", json!(words), json!({}));
    }
    let driver = Driver::open(host, &stage.folder().join(format!("state-{without}")));
    let mut told = lived(host, &driver, NodeKind::Vm).await;
    told.extend(lived(host, &driver, NodeKind::Ct).await);
    told.push(format!("{} are left", host.guests().len()));
    told
}

#[tokio::test]
async fn every_privilege_that_is_asked_for_is_needed() {
    if !fakepve::is_installed("every_privilege_that_is_asked_for_is_needed") {
        return;
    }
    let stage = Stage::set("pve-least");
    let host = FakePve::start(&stage, "father", 0.0);
    let all = both(&host, &stage, "none").await;
    let done = ["Created", "Updated", "[192.0.2.10]", "1", "destroyed"];
    let of_container = ["Created", "Updated", all[7].as_str(), "1", "destroyed"];
    assert_eq!(all, [&done[..], &of_container[..], &["0 are left"]].concat(), "with all of them");
    let mut superfluous = Vec::new();
    for name in privilege::PRIVILEGES.iter().map(|privilege| privilege.name) {
        let told = both(&host, &stage, name).await;
        if told == all {
            superfluous.push(name);
        }
    }
    assert_eq!(superfluous, SPARE.map(|(name, _)| name), "these change nothing");
}
