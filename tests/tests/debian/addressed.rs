//! A fixed address: put on a machine while its agent works, and taken back where the parent is not reached by it.

use homestak_tests::wait;
use serde_json::{Value, json};

use crate::yard::{Inside, Yard};

fn with(network: Value) -> Value {
    json!({
        "schema_version": 1,
        "identity": { "domain": "tree.example" },
        "network": network,
        "access": { "posture": "dev", "users": [{ "name": "homestak", "sudo": true, "ssh_keys": ["one"] }] },
    })
}

/// The addresses of its device, and where its default route leads.
fn addressed(machine: &Inside) -> String {
    machine.run("ip -4 -o addr show dev host0 | tr -s ' ' | cut -d' ' -f4; ip -4 route show default | cut -d' ' -f1-5")
}

#[test]
fn a_machine_takes_its_fixed_address_and_goes_back_from_one_that_leads_nowhere() {
    let test = "a_machine_takes_its_fixed_address_and_goes_back_from_one_that_leads_nowhere";
    let Some(yard) = Yard::set(test, "debian-net", "unit") else { return };
    let nodes = [("edge", "push", "fixed")];
    yard.spec("fixed", &with(json!({ "ip": "192.0.2.251", "gateway": "192.0.2.1", "dns": ["192.0.2.1"] })));
    yard.apply(0, &nodes);
    let machine = yard.inside("edge");
    let fixed = "192.0.2.251/24\ndefault via 192.0.2.1 dev host0";
    assert_eq!(addressed(&machine), fixed);
    assert!(machine.run("networkctl status host0 --no-pager").contains("/etc/systemd/network/05-homestak.network"));
    assert_eq!(machine.run("grep -v '^#' /etc/resolv.conf"), "search tree.example\nnameserver 192.0.2.1");
    assert_eq!(machine.run("hostname -f; hostname -d"), "edge.tree.example\ntree.example");
    let (code, again) = machine.agent("config apply");
    assert_eq!((code, &again["changed"], &again["failed"]), (Some(0), &json!(0), &json!(0)), "{again:#}");

    // Taken away by hand it is missed, shown and put right.
    machine.run("ip addr add 192.0.2.252/24 dev host0; ip addr del 192.0.2.251/24 dev host0; rm /etc/systemd/network/05-homestak.network");
    let (code, found) = machine.agent("config apply --dry-run --detailed-exitcode");
    let line = found["resources"].as_array().unwrap().iter().find(|line| line["resource"] == "network").unwrap();
    let said = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((code, said("status").as_str()), (Some(5), "differs"), "{found:#}");
    assert!(said("difference").contains("lacks the address 192.0.2.251/24"), "{line:#}");
    assert!(said("diff").contains("\n+Address=192.0.2.251/24\n"), "{line:#}");
    assert_eq!(machine.agent("config apply").0, Some(0));
    assert_eq!(addressed(&machine), fixed);

    // An address by which the parent is not reached.
    yard.spec("fixed", &with(json!({ "ip": "198.51.100.7/24", "gateway": "198.51.100.1" })));
    let document = yard.apply(1, &nodes);
    let error = &document["nodes"][0]["error"];
    let message = error["message"].as_str().unwrap();
    assert_eq!(error["code"], "E707", "{document:#}");
    ["network failed", "cannot be reached with it", "what was there before is back"]
        .iter()
        .for_each(|words| assert!(message.contains(words), "{words}: {message}"));
    let is_back = |machine: &Inside| {
        assert_eq!(addressed(machine), fixed);
        assert_eq!(machine.read("/var/lib/homestak/network-before.json"), None);
        assert_eq!(machine.run("systemctl list-units --all --no-legend 'homestak-network-back*'"), "");
    };
    is_back(&machine);

    // Whoever applies it dies before anybody knows; the agent's next start is the way back.
    machine.run("systemd-run -q --unit=applying homestak-agent config apply");
    wait::until("the address is another", || addressed(&machine).contains("198.51.100.7").then_some(()));
    assert!(machine.run("systemctl list-timers --no-legend").contains("homestak-network-back"));
    machine.run("systemctl kill -s KILL applying");
    wait::until("it is dead", || (machine.run("systemctl is-active applying || true") != "active").then_some(()));
    assert!(addressed(&machine).contains("198.51.100.7"));
    machine.run("systemctl restart homestak-agent");
    wait::until("the address is back", || (addressed(&machine) == fixed).then_some(()));
    is_back(&machine);
    yard.spec("fixed", &with(json!({ "ip": "192.0.2.250", "gateway": "192.0.2.1" })));
    yard.apply(0, &nodes);
    assert!(addressed(&machine).starts_with("192.0.2.250/24\n"));
    yard.stage.strike();
}

#[test]
fn a_machine_that_ifupdown_sets_up_stays_ifupdowns() {
    let test = "a_machine_that_ifupdown_sets_up_stays_ifupdowns";
    let Some(yard) = Yard::set(test, "debian-ifupdown", "unit") else { return };
    let nodes = [("classic", "push", "fixed")];
    let mut spec = with(json!(null));
    spec["platform"] = json!({ "packages": ["ifupdown"] });
    yard.spec("fixed", &spec);
    yard.apply(0, &nodes);
    let machine = yard.inside("classic");
    let own = addressed(&machine).lines().next().unwrap().to_owned();
    // A DHCP client lives on, whoever has brought the interface up.
    let client = "sleep 1000000 >/dev/null 2>&1 & echo $! >/run/client";
    let stanza = format!(
        "auto lo\niface lo inet loopback\n\nauto host0\niface host0 inet static\n    address {own}\n    gateway 192.0.2.1\n    mtu 1400\n    up {client}\n"
    );
    machine.write("/etc/network/interfaces", &stanza);
    machine.run(
        "rm /etc/systemd/network/10-host0.network; systemctl disable -q --now systemd-networkd.socket systemd-networkd",
    );
    machine.run("ip addr flush dev host0; ifup host0; test \"$(ip -4 -o addr show dev host0 | wc -l)\" = 1");

    spec["network"] = json!({ "ip": "192.0.2.249/24", "gateway": "192.0.2.1" });
    yard.spec("fixed", &spec);
    yard.apply(0, &nodes);
    let fixed = "192.0.2.249/24\ndefault via 192.0.2.1 dev host0";
    assert_eq!(addressed(&machine), fixed);
    let file = format!(
        "auto lo\niface lo inet loopback\n\nauto host0\niface host0 inet static\n\taddress 192.0.2.249/24\n\tgateway 192.0.2.1\n\
         \tdns-search tree.example\n    mtu 1400\n    up {client}\n"
    );
    assert_eq!(machine.read("/etc/network/interfaces"), Some(file.clone()));
    assert_eq!(machine.run("cat /sys/class/net/host0/mtu; ifquery --state host0"), "1400\nhost0=host0");
    let (code, again) = machine.agent("config apply");
    assert_eq!((code, &again["changed"], &again["failed"]), (Some(0), &json!(0), &json!(0)), "{again:#}");

    spec["network"] = json!({ "ip": "198.51.100.7", "gateway": "198.51.100.1" });
    yard.spec("fixed", &spec);
    let document = yard.apply(1, &nodes);
    let message = document["nodes"][0]["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("what was there before is back"), "{message}");
    assert_eq!((addressed(&machine).as_str(), machine.read("/etc/network/interfaces")), (fixed, Some(file)));
    machine.run("systemctl restart homestak-agent; kill -0 $(cat /run/client)");
    yard.stage.strike();
}
