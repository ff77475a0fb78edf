//! The coordinator under a real systemd, with the unit that comes with it.

use std::fs;

use homestak_tests::binaries::{binaries, workspace};
use homestak_tests::wait;

use crate::yard::Yard;

const ASK: &str = "curl --silent --insecure --max-time 20 https://127.0.0.1:44443/health";

#[test]
fn the_coordinators_unit_is_up_when_it_answers_reloads_ends_and_is_started_again_when_it_freezes() {
    let test = "the_coordinators_unit_is_up_when_it_answers_reloads_ends_and_is_started_again_when_it_freezes";
    let Some(yard) = Yard::set(test, "service", "unit") else { return };
    yard.spec("plain", &serde_json::json!({ "schema_version": 1, "access": { "posture": "dev" }, "platform": { "packages": ["curl"] } }));
    yard.apply(0, &[("carrier", "push", "plain")]);
    let carrier = yard.inside("carrier");
    let unit = fs::read_to_string(workspace().join("docs/homestak-coord.service")).unwrap();
    let root = yard.stage.machine("local/real/carrier").folder.join("root");
    fs::copy(&binaries().coord, root.join("usr/local/bin/homestak-coord")).unwrap();
    carrier.write("/etc/systemd/system/homestak-coord.service", &unit);
    carrier.write("/etc/homestak/coordinator.env", "HOMESTAK_SITE_CONFIG=demo\n");
    // As it is, but with a watchdog that loses its patience sooner.
    carrier.run("mkdir -p /etc/systemd/system/homestak-coord.service.d");
    carrier.write("/etc/systemd/system/homestak-coord.service.d/test.conf", "[Service]\nWatchdogSec=5\n");
    carrier.run("systemctl daemon-reload && systemctl enable --quiet --now homestak-coord");
    // systemd waited for its word.
    assert!(carrier.run(ASK).contains("\"status\":\"ok\""));
    let main = || carrier.run("systemctl show -P MainPID homestak-coord");
    let first = main();
    carrier.run("systemctl reload homestak-coord");
    assert_eq!((main(), carrier.run("systemctl is-active homestak-coord")), (first.clone(), "active".into()));
    assert_eq!(carrier.run("stat -c %a /var/lib/homestak"), "700");

    carrier.run(&format!("kill -STOP {first}"));
    let second = wait::until("systemd starts it again", || {
        let now = main();
        let up = carrier.output("systemctl is-active --quiet homestak-coord").status.success();
        (up && now != first && carrier.output(ASK).status.success()).then_some(now)
    });
    assert_ne!(second, first);
    let log = carrier.run("journalctl -u homestak-coord --no-pager");
    assert!(log.to_lowercase().contains("watchdog"), "{log}");

    let ends_well = || {
        carrier.run("systemctl stop homestak-coord");
        let log = carrier.run("journalctl -u homestak-coord --no-pager");
        assert_eq!(carrier.run("systemctl show -P Result homestak-coord"), "success", "{log}");
    };
    ends_well();
    assert!(!carrier.output(ASK).status.success());
    // Also in the middle of its start.
    for delay in ["0.05", "0.1", "0.2"] {
        carrier.run(&format!("systemctl start --no-block homestak-coord; sleep {delay}"));
        ends_well();
    }
    yard.stage.strike();
}
