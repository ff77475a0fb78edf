//! A spec with every field, pulled and pushed: what the machine is then, that it stays so, and what of it is put right.

use serde_json::{Value, json};

use crate::yard::{Inside, KEY, Yard};

/// A spec with every field but a fixed address.
pub(crate) fn everything() -> Value {
    json!({
        "schema_version": 1,
        "identity": { "domain": "tree.example" },
        "access": {
            "posture": "prod",
            "users": [
                { "name": "homestak", "sudo": true, "ssh_keys": ["one"] },
                { "name": "guest", "ssh_keys": [] },
            ],
        },
        "platform": {
            "packages": ["htop", "tree", "chrony", "rpcbind"],
            "services": { "enable": ["chrony"], "disable": ["rpcbind"] },
        },
        "config": { "timezone": "America/Denver", "pve": { "remove_subscription_nag": true } },
        "run": { "trigger": "schedule", "interval": "30m" },
    })
}

/// What Debian's own tools say of a machine, one line each.
pub(crate) fn looked_at(machine: &Inside) -> Vec<String> {
    let tools = [
        "cat /etc/hostname && hostname",
        "getent ahosts $(hostname) | head -1 | tr -s ' '",
        "getent passwd homestak guest",
        "sudo -l -U homestak | tail -1 | tr -s ' '",
        "sudo -l -U guest | tail -1 | cut -d' ' -f1-7",
        "stat -c '%a %U:%G' /home/homestak/.ssh /home/homestak/.ssh/authorized_keys",
        "cat /home/homestak/.ssh/authorized_keys",
        "sshd -T | grep -E '^(port|permitrootlogin|passwordauthentication) ' | sort",
        "ss -tlnH sport = :2222 | wc -l",
        "dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n' htop tree chrony rpcbind fail2ban sudo",
        "readlink -f /etc/localtime && cat /etc/timezone && date +%Z | tr -d '0-9'",
        "systemctl is-enabled chrony; systemctl is-enabled rpcbind || true",
        "systemctl is-active rpcbind || true",
        "fail2ban-client status | grep -i list | tr -s '\\t ' ' '",
        "visudo -c -q && echo sudoers are valid",
    ];
    tools.iter().map(|tool| machine.run(tool)).collect()
}

#[test]
fn a_real_machine_becomes_what_its_spec_says_and_says_when_it_is_so_no_more() {
    let test = "a_real_machine_becomes_what_its_spec_says_and_says_when_it_is_so_no_more";
    let Some(yard) = Yard::set(test, "debian", "unit") else { return };
    yard.spec("everything", &everything());
    let nodes = [("pulled", "pull", "everything"), ("pushed", "push", "everything")];
    let applied = yard.apply(0, &nodes);
    assert!(applied["nodes"].as_array().unwrap().iter().all(|node| node["status"] == "completed"), "{applied:#}");

    let (pulled, pushed) = (yard.inside("pulled"), yard.inside("pushed"));
    let seen = looked_at(&pulled);
    let said = |part: &str| assert!(seen.iter().any(|line| line.contains(part)), "{part}: {seen:#?}");
    ["pulled\npulled", "127.0.1.1", ":/home/homestak:/bin/bash", "(ALL : ALL) ALL", "User guest is not allowed to run"]
        .iter()
        .for_each(|part| said(part));
    ["700 homestak:homestak\n600 homestak:homestak", KEY, "passwordauthentication no\npermitrootlogin no\nport 2222"]
        .iter()
        .for_each(|part| said(part));
    [
        "htop ii",
        "fail2ban ii",
        "/usr/share/zoneinfo/America/Denver",
        "enabled\ndisabled",
        "inactive",
        "Jail list: sshd",
    ]
    .iter()
    .for_each(|part| said(part));
    let log = pulled.run("journalctl -u homestak-agent --no-pager");
    assert!(log.contains("the parent gave the spec"), "{log}");
    assert!(!pushed.run("journalctl -u homestak-agent --no-pager").contains("the parent gave the spec"));
    let same: Vec<String> = looked_at(&pushed).iter().map(|line| line.replace("pushed", "pulled")).collect();
    assert_eq!(same, seen, "push and pull end in the same state");
    let complete = pulled.marker("config-complete").unwrap();
    assert_eq!(
        (&complete["spec"], &complete["users"], &complete["changed"]),
        (&json!("pulled"), &json!(2), &json!(true))
    );
    assert_eq!(pulled.run("stat -c %a /etc/homestak/agent.env /var/lib/homestak/spec.yaml"), "600\n600");

    // By hand the agent knows what its unit is told.
    let (code, fetched) = pulled.agent("config fetch");
    assert_eq!(
        (code, &fetched["spec"], &fetched["attempts"]),
        (Some(0), &json!("everything"), &json!(1)),
        "{fetched:#}"
    );

    // A second time there is nothing to do.
    yard.apply(0, &nodes);
    assert_eq!(pulled.marker("config-complete").unwrap()["changed"], false);
    let (code, again) = pulled.agent("config apply");
    assert_eq!((code, &again["changed"], &again["failed"]), (Some(0), &json!(0), &json!(0)), "{again:#}");

    // What is broken by hand is named, and put right.
    pulled.run("userdel -r guest 2>/dev/null; echo 'Port 22' > /etc/ssh/sshd_config.d/10-homestak.conf");
    pulled.run("systemctl enable -q rpcbind; chmod 644 /etc/sudoers.d/homestak-homestak; dpkg -P htop >/dev/null");
    let (code, found) = pulled.agent("config check --detailed-exitcode");
    let named: Vec<&str> = found["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["status"] == "differs")
        .map(|line| line["resource"].as_str().unwrap())
        .collect();
    assert_eq!((code, named), (Some(5), vec!["packages", "user guest", "sudo", "keys guest", "sshd", "services"]));
    let (code, mended) = pulled.agent("config apply");
    assert_eq!((code, &mended["changed"]), (Some(0), &json!(6)), "{mended:#}");
    assert_eq!(looked_at(&pulled)[3..], seen[3..]);
    assert_eq!(pulled.agent("config check --detailed-exitcode").0, Some(0));
    yard.stage.strike();
}
