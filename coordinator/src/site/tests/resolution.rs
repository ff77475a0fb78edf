//! What the harbour's files come to: for nodes, for tofu, for ansible, for hosts. The bugs of old are named where a test
//! shows that they are none here.

use homestak_protocol::ids::Vmid;
use homestak_protocol::name::NodeName;
use homestak_protocol::token::{self, SigningKey};
use serde_json::{Value, json};

use super::harbour::Harbour;
use crate::site::Wanted;
use crate::site::hosts::Asked;
use crate::site::*;

fn spec(site: &Site, name: &str, node: &str) -> Value {
    let spec = site.spec(&SiteName::parse(name).unwrap(), &NodeName::parse(node).unwrap()).unwrap();
    serde_json::from_str(&spec.document).unwrap()
}

fn wanted<'a>(node: &'a str, preset: &'a SiteName) -> Wanted<'a> {
    let name = NodeName::parse("test").unwrap();
    Wanted { node, name, vmid: None, preset, image: None, spec: None }
}

fn tofu(site: &Site, wanted: Wanted<'_>) -> Value {
    serde_json::to_value(site.tofu_vars(wanted, "me", 1_700_000_000).unwrap()).unwrap()
}

fn name(text: &str) -> SiteName {
    SiteName::parse(text).unwrap()
}

#[test]
fn a_spec_is_served_with_the_nodes_name_and_its_whole_posture_and_without_how_the_endpoint_knows_it() {
    let site = Harbour::new().site();
    let document = spec(&site, "base", "post");
    assert_eq!(document["identity"], json!({"hostname": "post", "domain": "harbour.example"}));
    assert_eq!(document["access"]["posture"], "dev");
    // YAML's own `yes` is a word here.
    let ssh = json!({"port": 22, "permit_root_login": "yes", "password_authentication": "yes"});
    let security =
        json!({"ssh": ssh, "sudo": {"nopasswd": true}, "fail2ban": {"enabled": false}, "packages": ["strace", "lsof"]});
    assert_eq!(document["access"]["security"], security);
    assert_eq!(document["config"], json!({"timezone": "Europe/Lisbon"}));
    let sealed = &spec(&site, "beacon", "lamp")["access"]["security"];
    assert_eq!(sealed["ssh"], json!({"port": 2200, "permit_root_login": "no", "password_authentication": "no"}));
    assert!(sealed.get("auth").is_none());
}

#[test]
fn every_user_is_there_with_the_keys_that_are_its_own() {
    let site = Harbour::new().site();
    let document = spec(&site, "beacon", "lamp");
    let users = document["access"]["users"].as_array().unwrap();
    let keys = |index: usize| -> Vec<&str> {
        users[index]["ssh_keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect()
    };
    assert_eq!(users.len(), 3);
    assert!(keys(0).len() == 1 && keys(0)[0].ends_with("zora@tower"));
    assert!(keys(1).len() == 2 && keys(1)[0].ends_with("abel@quay"), "in the user's order, under either spelling");
    assert!(keys(2).is_empty());
    // Whoever names none has all, in the order of the secrets.
    let all = &spec(&site, "base", "post")["access"]["users"][0]["ssh_keys"];
    let ends: Vec<&str> =
        all.as_array().unwrap().iter().map(|key| key.as_str().unwrap().rsplit(' ').next().unwrap()).collect();
    assert_eq!(ends, ["zora@tower", "abel@quay", "mira@boat"]);
}

#[test]
fn what_a_spec_says_beats_the_site_and_what_nobody_here_knows_is_handed_on() {
    let document = spec(&Harbour::new().site(), "beacon", "lamp");
    assert_eq!(document["identity"]["domain"], "light.example");
    assert_eq!(document["config"]["timezone"], "Etc/UTC");
    assert_eq!(document["config"]["lamp"], json!({"colour": "white", "seconds": [1, 2.5], "lit": true, "note": null}));
    assert_eq!(document["network"], json!({"ip": "192.0.2.78", "gateway": "192.0.2.1", "dns": ["192.0.2.53"]}));
    assert_eq!(document["run"], json!({"trigger": "schedule", "interval": "30m"}));
}

#[test]
fn tofu_gets_every_key_that_it_always_got() {
    let site = Harbour::new().site();
    let preset = name("barge");
    let vars =
        tofu(&site, Wanted { vmid: Vmid::new(42_001), image: Some(name("debian-12")), ..wanted("pier", &preset) });
    let vm = &vars["vms"][0];
    for key in [
        "node",
        "api_endpoint",
        "api_token",
        "ssh_user",
        "automation_user",
        "ssh_host",
        "datastore",
        "root_password",
        "ssh_keys",
        "spec_server",
    ] {
        assert!(vars.get(key).is_some(), "{key}");
    }
    assert_eq!(vars["api_token"], "homestak@pve!harbour=11111111-2222-3333-4444-555555555555");
    assert_eq!((&vars["ssh_user"], &vars["automation_user"]), (&json!("warden"), &json!("keeper")));
    assert_eq!((&vars["ssh_host"], &vars["datastore"]), (&json!("192.0.2.10"), &json!("tank")));
    assert_eq!(vars["spec_server"], "https://pier.harbour.example:44443");
    assert!(vars["ssh_keys"][0].as_str().unwrap().ends_with("zora@tower"), "the order of the file");
    assert_eq!(
        *vm,
        json!({"name": "test", "vmid": 42_001, "image": "debian-12", "cores": 6, "memory": 12_288, "disk": 90,
               "bridge": "vmbr1", "gateway": "192.0.2.1", "packages": ["curl", "iotop"], "auth_token": ""})
    );
}

#[test]
fn a_presets_further_keys_flow_through_and_beat_the_site() {
    let preset = name("buoy");
    let vm = tofu(&Harbour::new().site(), wanted("pier", &preset))["vms"][0].clone();
    assert_eq!(
        (&vm["ip"], &vm["gateway"], &vm["bridge"]),
        (&json!("192.0.2.77/24"), &json!("192.0.2.2"), &json!("vmbr9"))
    );
    assert_eq!((&vm["balloon"], &vm["vmid"], &vm["image"]), (&json!(512), &Value::Null, &Value::Null));
}

#[test]
fn a_token_is_minted_when_there_are_a_spec_and_a_server_and_a_key_is_missed_only_then() {
    let harbour = Harbour::new();
    let preset = name("vm-small");
    let with_spec = || Wanted { spec: Some(name("base")), ..wanted("pier", &preset) };
    let minted = tofu(&harbour.site(), with_spec())["vms"][0]["auth_token"].as_str().unwrap().to_owned();
    let key = SigningKey::parse_hex("7a1e0c55d3b9426f8801f2a6c4e97b3d5a60118e9fd2c7340b85e6a9137cf42d").unwrap();
    let claims = token::verify(&key, &minted).unwrap();
    assert_eq!((claims.node.as_str(), claims.spec.as_str(), claims.issued_at), ("test", "base", Some(1_700_000_000)));
    harbour.write("secrets.yaml", "ssh_keys:\n  zora@tower: ssh-ed25519 A\n  abel@quay: ssh-ed25519 B\n");
    let site = harbour.site();
    let missing = site.tofu_vars(with_spec(), "me", 1).err().unwrap();
    assert!(missing.message.contains("signing_key") && missing.hint.is_some());
    assert_eq!(tofu(&site, wanted("pier", &preset))["vms"][0]["auth_token"], "");
    harbour.write("site.yaml", "defaults: {server_url: \"\"}\n");
    assert_eq!(tofu(&harbour.site(), with_spec())["vms"][0]["auth_token"], "");
}

#[test]
fn tofu_is_refused_what_it_cannot_make() {
    let site = Harbour::new().site();
    let (small, nope) = (name("vm-small"), name("vm-smal"));
    let refused = |wanted| site.tofu_vars(wanted, "me", 1).err().unwrap().message;
    assert!(refused(wanted("pier", &nope)).contains("no preset vm-smal"));
    assert!(refused(wanted("dinghy", &small)).contains("no PVE node"));
    assert!(refused(wanted("peer", &small)).contains("nodes/peer.yaml"));
    assert!(refused(Wanted { spec: Some(name("bace")), ..wanted("pier", &small) }).contains("no spec bace"));
}

#[test]
fn ansible_gets_the_sites_packages_then_the_postures_each_once() {
    let site = Harbour::new().site();
    let vars = |posture: Option<&str>, env: Option<&str>| {
        let (posture, env) = (posture.map(name), env.map(name));
        serde_json::to_value(site.ansible_vars(posture.as_ref(), env.as_ref()).unwrap()).unwrap()
    };
    let dev = vars(None, None);
    assert_eq!(dev["packages"], json!(["curl", "rsync", "lsof", "strace"]));
    assert_eq!((&dev["env_name"], &dev["posture_name"]), (&json!("dev"), &json!("dev")));
    assert_eq!((&dev["timezone"], &dev["pve_remove_subscription_nag"]), (&json!("Europe/Lisbon"), &json!(false)));
    assert_eq!((&dev["ssh_port"], &dev["ssh_permit_root_login"]), (&json!(22), &json!("yes")));
    assert_eq!((&dev["sudo_nopasswd"], &dev["fail2ban_enabled"]), (&json!(true), &json!(false)));
    assert_eq!(dev["ssh_authorized_keys"].as_array().unwrap().len(), 3);
    let drydock = vars(None, Some("drydock"));
    assert_eq!((&drydock["env_name"], &drydock["posture_name"]), (&json!("drydock"), &json!("sealed")));
    assert_eq!((&drydock["ssh_port"], &drydock["fail2ban_enabled"]), (&json!(2200), &json!(true)));
    assert_eq!(vars(Some("dev"), Some("drydock"))["posture_name"], "dev");
    let unknown = site.ansible_vars(Some(&name("seeled")), None).err().unwrap();
    assert!(unknown.message.contains("seeled") && unknown.hint.unwrap().contains("dev, sealed"));
}

#[test]
fn a_host_is_its_node_before_its_machine_with_the_site_below_and_the_secrets_above() {
    let site = Harbour::new().site();
    let pier = site.host(Asked::parse("pier"), "me").unwrap();
    assert_eq!((pier.config_file.as_str(), pier.is_host_only), ("nodes/pier.yaml", false));
    assert_eq!((pier.ssh_host.as_str(), pier.ssh_user.as_str()), ("192.0.2.10", "warden"));
    let shown = serde_json::to_value(&pier).unwrap();
    assert_eq!(shown["api_token"], "[secret]");
    let clear = serde_json::to_value(pier.api_token.in_clear()).unwrap();
    assert_eq!(clear, "homestak@pve!harbour=11111111-2222-3333-4444-555555555555");
    assert_eq!(shown["packer_release"], "v7");
    assert_eq!(site.host(Asked::parse("root@pier"), "me").unwrap().ssh_user, "root");
}

#[test]
fn a_machine_that_is_no_node_yet_is_reached_by_ssh_as_the_site_says_where_it_does_not() {
    let harbour = Harbour::new();
    harbour.remove("nodes/pier.yaml");
    let site = harbour.site();
    let pier = site.host(Asked::parse("pier"), "me").unwrap();
    assert!(pier.is_host_only && pier.api_endpoint.is_empty());
    assert_eq!((pier.ssh_host.as_str(), pier.ssh_user.as_str(), pier.ssh_port), ("192.0.2.10", "pilot", 2222));
    // `access` is there and names no user, so that the site's counts.
    let dinghy = site.host(Asked::parse("dinghy"), "me").unwrap();
    assert_eq!((dinghy.ssh_host.as_str(), dinghy.ssh_user.as_str()), ("192.0.2.20", "warden"));
    harbour.write("site.yaml", "defaults: {datastore: tank}\n");
    assert_eq!(harbour.site().host(Asked::parse("dinghy"), "me").unwrap().ssh_user, "me");
}

#[test]
fn a_host_that_is_not_there_is_told_with_both_places_all_that_are_and_the_way_out() {
    let site = Harbour::new().site();
    let names: Vec<String> = site.hosts().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["dinghy", "pier"]);
    let fault = site.host(Asked::parse("peir"), "me").unwrap_err();
    for part in ["nodes/peir.yaml", "hosts/peir.yaml", "Available: dinghy, pier"] {
        assert!(fault.message.contains(part), "{part}: {}", fault.message);
    }
    let hint = fault.hint.unwrap();
    assert!(hint.contains("did you mean pier?") && hint.contains("make host-config"), "{hint}");
}

#[test]
fn secrets_that_cannot_be_read_are_an_error_of_their_own_and_not_a_site_without_any() {
    let harbour = Harbour::new();
    harbour.write("secrets.yaml", "ssh_keys: {zora@tower: [\n");
    let broken = harbour.open().unwrap_err();
    assert!(broken.problems().iter().any(|problem| problem.code == "E602" && problem.file.ends_with("secrets.yaml")));
    assert!(!broken.problems().iter().any(|problem| problem.code == "E633"), "{:#?}", broken.problems());
}

#[test]
fn newer_names_of_settings_mean_the_same_as_the_older_ones() {
    let older = "{ssh_user: pat, automation_user: bot, packer_release: v1, spec_server: \"https://a:1\", datastore: t}";
    let newer = "{host_user: pat, vm_user: bot, image_release: v1, server_url: \"https://a:1\", datastore: t}";
    let read = |text: &str| {
        let harbour = Harbour::new();
        harbour.write("site.yaml", &format!("defaults: {text}\n"));
        serde_json::to_value(harbour.site().defaults()).unwrap()
    };
    assert_eq!(read(older), read(newer));
}

#[test]
fn what_an_example_leaves_empty_is_not_set() {
    let harbour = Harbour::new();
    harbour.write(
        "site.yaml",
        "defaults: {gateway: \"\", domain: \"\", server_url: \"\", dns_servers: [], datastore: \"\"}\n",
    );
    let site = harbour.site();
    let defaults = site.defaults();
    assert!(defaults.gateway.is_none() && defaults.domain.is_none() && defaults.server_url.is_none());
    assert_eq!(spec(&site, "base", "post")["identity"]["domain"], Value::Null);
}

#[test]
fn the_folder_is_read_again_when_a_file_of_it_has_changed_and_not_before() {
    let harbour = Harbour::new();
    let site = harbour.site();
    assert!(!has_changed(&site, &harbour.choice()));
    harbour.write("specs/new.yaml", "schema_version: 1\n");
    assert!(has_changed(&site, &harbour.choice()));
    let site = harbour.site();
    harbour.write("secrets.yaml", "{}\n");
    assert!(has_changed(&site, &harbour.choice()));
}
