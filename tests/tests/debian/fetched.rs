//! A machine whose image has no agent: its user-data, read by cloud-init, gets it from the parent.

use serde_json::json;

use crate::yard::Yard;

#[test]
fn a_machine_without_an_agent_gets_it_through_its_user_data() {
    let test = "a_machine_without_an_agent_gets_it_through_its_user_data";
    let Some(yard) = Yard::set(test, "debian-bare", "cloud-init") else { return };
    yard.spec(
        "small",
        &json!({
            "schema_version": 1,
            "access": { "posture": "dev", "users": [{ "name": "homestak", "sudo": true, "ssh_keys": ["one"] }] },
            "platform": { "packages": ["tree"] },
        }),
    );
    yard.apply(0, &[("bare", "pull", "small")]);
    let machine = yard.inside("bare");
    assert_eq!(
        machine.run("hostname; systemctl is-active homestak-agent; tree --version | cut -c1-4"),
        "bare\nactive\ntree"
    );
    assert_eq!(machine.run("stat -c '%a %U' /etc/homestak/agent.env"), "600 root");
    let token = machine.read("/etc/homestak/agent.env").unwrap();
    let token = token.lines().find_map(|line| line.strip_prefix("HOMESTAK_TOKEN=")).unwrap().trim_matches('"');
    let world = machine.run(&format!("grep -rlsF -- {token} /etc /var/log /usr/local /run 2>/dev/null || true"));
    let open: Vec<&str> = world
        .lines()
        .filter(|file| machine.run(&format!("stat -c %a '{file}'")).as_bytes().last() != Some(&b'0'))
        .collect();
    assert_eq!(open, [""; 0], "nobody but root can read the token");
    yard.stage.strike();
}
