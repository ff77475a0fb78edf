//! What machines fetch over HTTPS, from the coordinator and from every agent that has children.

use homestak_tests::curl::{curl, told};
use homestak_tests::needs;
use homestak_tests::stage::Stage;

/// Three levels; the machine at the bottom pulls its spec.
const DEEP: &str = r#"{"schema_version": 2, "name": "deep", "pattern": "tiered", "nodes": [
    {"name": "outer", "type": "pve", "spec": "pve", "preset": "vm-medium", "image": "debian-13-pve", "vmid": 99101},
    {"name": "inner", "type": "pve", "spec": "pve", "preset": "vm-medium", "image": "debian-13-pve", "vmid": 99102, "parent": "outer"},
    {"name": "edge", "type": "vm", "spec": "base", "preset": "vm-xsmall", "image": "debian-12", "vmid": 99103, "parent": "inner",
     "execution": {"mode": "pull"}},
    {"name": "pushed", "type": "vm", "spec": "base", "preset": "vm-xsmall", "image": "debian-12", "vmid": 99104, "parent": "inner"}]}"#;

#[test]
fn a_machine_at_any_depth_pulls_through_its_parents_and_does_so_with_the_coordinator_dead() {
    let name = "a_machine_at_any_depth_pulls_through_its_parents_and_does_so_with_the_coordinator_dead";
    if !needs::program(name, "curl") {
        return;
    }
    let stage = Stage::set("pull");
    stage.json(0, &["apply", "--manifest-json", DEEP]);
    let (server, token) = told(&stage.machine("local/deep/outer/inner/edge"));
    let url = |path: &str| format!("{server}{path}");
    let spec = curl(&url("/spec/edge"), Some(&token), &[]);
    assert_eq!((spec.status, spec.json()["identity"]["hostname"].as_str()), (200, Some("edge")), "{spec:?}");
    assert!(spec.json()["access"]["security"]["ssh"].is_object(), "{spec:?}");
    assert_eq!(curl(&url("/specs"), None, &[]).json()["specs"][0], "base");
    // The last character of a signature has two bits that must be zero: these two have them, and are not the same.
    let other = if token.ends_with('A') { 'E' } else { 'A' };
    let tampered = format!("{}{other}", &token[..token.len() - 1]);
    let (_, others) = told(&stage.machine("local/deep/outer/inner/pushed"));
    for (token, status, code) in [
        (None, 400, "E300"),
        (Some("rubbish"), 400, "E300"),
        (Some(tampered.as_str()), 401, "E301"),
        (Some(others.as_str()), 401, "E301"),
    ] {
        let answer = curl(&url("/spec/edge"), token, &[]);
        assert_eq!(answer.error(), (status, code.to_owned()), "{token:?}");
    }
    // The same at the coordinator itself.
    let coordinator = stage.json(0, &["server", "status"])["url"].as_str().unwrap().to_owned();
    assert_eq!(curl(&format!("{coordinator}/spec/edge/"), Some(&token), &[]), spec);

    stage.daemon().unwrap().kill();
    assert_eq!(curl(&url("/spec/edge"), Some(&token), &[]), spec, "the parent holds what its child is to pull");
    assert_eq!(curl(&url("/spec/pushed"), Some(&token), &[]).error(), (401, "E301".into()));
    assert_eq!(curl(&url("/spec/pushed"), Some(&others), &[]).error(), (404, "E200".into()), "nothing to pull");
    let stranger = curl(&url("/spec/edge"), Some("eyJ2IjoxfQ.AAAA"), &[]);
    assert_eq!(stranger.error(), (500, "E500".into()), "only those above know");
    stage.strike();
}
