//! What is seen, and what it comes to.

use std::fs;
use std::path::Path;

use homestak_protocol::ids::Incarnation;
use homestak_protocol::path::NodePath;

use super::*;
use crate::settings::SiteChoice;
use crate::site::hosts::Asked;
use crate::site::secrets::Keys;

fn folder(token: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path: &Path = &dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("site.yaml", "defaults:\n  domain: site.example\n  gateway: 192.0.2.1\n  dns_servers: [192.0.2.1]\n");
    write(
        "nodes/father.yaml",
        "node: father\nhost: father\napi_endpoint: https://192.0.2.7:8006\ndatastore: local-zfs\n",
    );
    write("hosts/father.yaml", "host: father\n");
    write("secrets.yaml", &format!("api_tokens:\n  father: {token:?}\nssh_keys:\n  me@desk: ssh-ed25519 AAAA me\n"));
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir.path().join("secrets.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

fn presence(host: &HostName, connected: bool) -> Presence {
    let facts = homestak_protocol::event::Facts {
        hostname: host.to_string(),
        os: "Debian GNU/Linux 13".into(),
        kernel: "6.14.8-2-pve".into(),
        arch: "x86_64".into(),
        cores: 8,
        memory_mib: 32_768,
        memory_free_mib: 30_000,
        disk_gib: 500,
        disk_free_gib: 400,
        load_milli: 0,
        nested: true,
    };
    Presence {
        path: NodePath::host_root(host),
        incarnation: Incarnation::from_bits(1),
        connected,
        since_ms: 0,
        seen_ms: 0,
        software: "1.0.0".into(),
        protocol: 1,
        address: "192.0.2.7:40000".into(),
        facts,
    }
}

/// What is seen of a host, looked at.
fn document(site: &Site, host: &str, presence: Option<&Presence>, api: Api) -> PreflightDocument {
    let host = HostName::parse(host).unwrap();
    let config = (!host.is_local()).then(|| site.host(Asked::parse(host.as_str()), "me"));
    let seen = Seen {
        host: &host,
        site,
        broken: None,
        config,
        linked: presence.map(|presence| presence.connected),
        presence,
        trouble: None,
        api,
        version: "1.0.0",
    };
    examine(&seen)
}

/// Each check that did not pass, with what became of it.
fn not_passed(site: &Site, host: &str, presence: Option<&Presence>, api: Api) -> Vec<String> {
    let document = document(site, host, presence, api);
    let failed = document.checks.iter().any(|check| check.status == CheckStatus::Failed);
    assert_eq!(document.passed, !failed);
    for check in &document.checks {
        let wants = matches!(check.status, CheckStatus::Failed | CheckStatus::Warning);
        assert!(
            !check.seen.is_empty() && check.hint.as_ref().is_some_and(|hint| !hint.is_empty()) == wants,
            "{check:?}"
        );
    }
    let left = document.checks.iter().filter(|check| check.status != CheckStatus::Passed);
    left.map(|check| format!("{} {}", check.name, serde_json::to_string(&check.status).unwrap().trim_matches('"')))
        .collect()
}

fn open(dir: &tempfile::TempDir) -> Site {
    Site::open(&SiteChoice::Folder(dir.path().to_owned()), &Keys::default()).unwrap()
}

#[test]
fn a_host_that_is_ready_passes_every_check() {
    let (dir, host) = (folder("root@pam!homestak=00-11"), HostName::parse("father").unwrap());
    let here = presence(&host, true);
    let left = not_passed(&open(&dir), "father", Some(&here), Api::Answers("192.0.2.7:8006".into()));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_not_there_is_told_by_name() {
    let dir = folder("root@pam!homestak=00-11");
    let left = not_passed(&open(&dir), "attic", None, Api::NotAsked("the site says nothing of this host"));
    for wanted in ["host failed", "agent failed", "api-token skipped", "nested skipped"] {
        assert!(left.iter().any(|told| told == wanted), "{wanted}: {left:?}");
    }
    let host = HostName::parse("father").unwrap();
    let mut gone = presence(&host, false);
    (gone.facts.nested, gone.facts.memory_free_mib, gone.facts.disk_free_gib) = (false, 100, 1);
    let left = not_passed(&open(&dir), "father", Some(&gone), Api::Silent("192.0.2.7:8006 is silent".into()));
    assert_eq!(left, ["api warning", "agent failed", "nested warning", "memory warning", "disk warning"]);
}

#[test]
fn a_token_that_pve_would_not_take_fails() {
    let host = HostName::parse("father").unwrap();
    let here = presence(&host, true);
    let api = || Api::Answers("192.0.2.7:8006".into());
    let left = not_passed(&open(&folder("hunter2")), "father", Some(&here), api());
    assert_eq!(left, ["api-token failed"]);
    let left = not_passed(&open(&folder("")), "father", Some(&here), api());
    assert!(left.contains(&"api-token warning".to_owned()), "{left:?}");
}

#[test]
fn an_api_that_takes_the_token_passes_and_one_that_does_not_fails() {
    let (dir, host) = (folder("root@pam!homestak=00-11"), HostName::parse("father").unwrap());
    let here = presence(&host, true);
    let greets = Api::Greets { at: "192.0.2.7:8006".into(), version: "9.0.3".into() };
    assert!(not_passed(&open(&dir), "father", Some(&here), greets).is_empty());
    let left = not_passed(&open(&dir), "father", Some(&here), Api::Refuses("192.0.2.7:8006".into()));
    assert_eq!(left, ["api failed"]);
}

#[test]
fn a_host_without_a_token_is_told_what_to_type_for_its_own_version() {
    let (dir, host) = (folder(""), HostName::parse("father").unwrap());
    let mut here = presence(&host, true);
    let answers = || Api::Answers("192.0.2.7:8006".into());
    here.facts.os = "Proxmox VE 8.4.1 on Debian GNU/Linux 12 (bookworm)".into();
    let told = document(&open(&dir), "father", Some(&here), answers()).prepare;
    let lines = homestak_protocol::privilege::by_hand(8, "local");
    let [rest @ .., last] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(rest, lines);
    assert!(told[0].contains("VM.Monitor") && last.contains("/etc/homestak/pve.token"), "{told:?}");
    let told = document(&open(&dir), "father", None, answers()).prepare;
    assert!(told[0].contains("VM.GuestAgent.Audit"), "{told:?}");
    let whole = folder("root@pam!homestak=00-11");
    assert!(document(&open(&whole), "father", Some(&here), answers()).prepare.is_empty());
    let demo = Site::open(&SiteChoice::Demo, &Keys::default()).unwrap();
    assert!(document(&demo, "local", None, Api::NotAsked("it has none")).prepare.is_empty());
}

#[test]
fn local_of_the_demo_site_needs_nothing_but_its_agent() {
    let site = Site::open(&SiteChoice::Demo, &Keys::default()).unwrap();
    let here = presence(&HostName::local(), true);
    let left = not_passed(&site, "local", Some(&here), Api::NotAsked("it has none"));
    assert!(left.iter().all(|told| told.ends_with("skipped")), "{left:?}");
}
