//! What a machine is told of its network, and a container of what it may carry.

use homestak_protocol::order::{CloudInit, NodeKind};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};

use crate::provider::{Driver, machine};

#[tokio::test]
async fn an_ordered_address_its_gateway_and_its_name_servers_reach_machines_and_containers() {
    if !fakepve::is_installed("an_ordered_address_its_gateway_and_its_name_servers_reach_machines_and_containers") {
        return;
    }
    let stage = Stage::set("pve-network");
    let host = FakePve::start(&stage, "father", 0.0);
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let told = |address: &str, gateway: &str| CloudInit {
        address: Some(address.into()),
        gateway: Some(gateway.into()),
        dns_servers: vec!["192.0.2.53".into(), "192.0.2.54".into()],
        domain: Some("site.example".into()),
        ..CloudInit::default()
    };
    let mut vm = machine("edge", NodeKind::Vm, Some(600));
    vm.cloud_init = told("192.0.2.10/24", "192.0.2.1");
    let made = driver.ensure(vm).await.unwrap();
    assert_eq!(made.ip.map(|ip| ip.to_string()).as_deref(), Some("192.0.2.10"), "it is known before anything runs");
    let read = |file: &str| std::fs::read_to_string(host.snippets.join(file)).unwrap();
    let json = |text: String| serde_json::from_str::<Value>(text.trim_start_matches("#cloud-config")).unwrap();
    let card = host.guest("edge")["config"]["net0"].as_str().unwrap().to_owned();
    let mac = card.split([',', '=']).find(|part| part.starts_with("BC:24:11:")).unwrap().to_lowercase();
    let wanted = json!({
        "match": { "macaddress": mac }, "set-name": "eth0", "dhcp4": false, "addresses": ["192.0.2.10/24"],
        "routes": [{ "to": "0.0.0.0/0", "via": "192.0.2.1" }],
        "nameservers": { "addresses": ["192.0.2.53", "192.0.2.54"], "search": ["site.example"] },
    });
    let network = json(read("edge-network.yaml"));
    assert_eq!((&network["version"], &network["ethernets"]["eth0"]), (&json!(2), &wanted));
    assert_eq!(json(read("edge-user.yaml"))["fqdn"], "edge.site.example");

    let mut ct = machine("box", NodeKind::Ct, Some(601));
    ct.cloud_init = told("192.0.2.11/24", "192.0.2.1");
    ct.extras.nesting = Some(false);
    driver.ensure(ct).await.unwrap();
    let config = host.guest("box")["config"].clone();
    let card = config["net0"].as_str().unwrap();
    assert!(["ip=192.0.2.11/24", "gw=192.0.2.1", "bridge=vmbr0"].iter().all(|part| card.contains(part)), "{card}");
    assert_eq!(
        (&config["nameserver"], &config["searchdomain"], &config["features"]),
        (&json!("192.0.2.53 192.0.2.54"), &json!("site.example"), &Value::Null),
        "nesting is not wanted: {config:#}"
    );

    let mut six = machine("six", NodeKind::Ct, Some(602));
    six.cloud_init = told("2001:db8::10/64", "2001:db8::1");
    driver.ensure(six).await.unwrap();
    let config = host.guest("six")["config"].clone();
    let card = config["net0"].as_str().unwrap();
    assert!(["ip6=2001:db8::10/64", "gw6=2001:db8::1"].iter().all(|part| card.contains(part)), "{card}");
    assert_eq!(config["features"], "nesting=1", "it is there where nobody says otherwise");
}
