//! A slow link on which an image comes is there for orders all the same.

use std::time::Duration;

use homestak_tests::fakepve;
use homestak_tests::guests::Guests;
use homestak_tests::relay::Weather;
use homestak_tests::wait;

use crate::images::{set, two};

#[test]
fn an_order_is_heard_while_an_image_comes_over_the_same_slow_link() {
    if !fakepve::is_installed("an_order_is_heard_while_an_image_comes_over_the_same_slow_link") {
        return;
    }
    let set = set("pve-priority", 96 * 1024 * 1024);
    let stage = &set.stage;
    let (relay, _agent) = set.joined_by_relay();
    let _guests = Guests::keep(stage, &set.hosts, &[]);
    relay.turn(Weather::delay(Duration::from_millis(60)));
    let file = stage.file("two.yaml", two("two")).display().to_string();
    let run = stage.json(0, &["apply", &file, "-H", "father", "--detach"]);
    wait::within(Duration::from_secs(120), "a part of it is there", || {
        set.part().filter(|length| *length > 2 * 1024 * 1024)
    });
    stage.json(0, &["cancel", run["run"].as_str().unwrap()]);
    wait::until("the run is cancelled", || {
        let runs = stage.json(0, &["runs", "--limit", "1"]);
        (runs["runs"][0]["state"] == "cancelled").then_some(())
    });
    let part = set.part().unwrap_or_default();
    let length = u64::try_from(set.bytes.len()).unwrap();
    assert!(
        !set.arrived() && part > 0 && part < length,
        "{part} of {length} have come: the word has overtaken the rest"
    );
    relay.turn(Weather::FAIR);
    stage.json(0, &["destroy", "two", "-H", "father", "--yes"]);
}
