//! A site folder of one's own: read as it is, looked at again at each command, and never trusted half.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use homestak_tests::stage::Stage;
use serde_json::{Value, json};

/// The harbour, copied into a stage's folder.
fn harbour(stage: &Stage) -> PathBuf {
    let site = stage.file("made", "").with_file_name("harbour");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../coordinator/tests/harbour"), &site);
    fs::set_permissions(site.join("secrets.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    site
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A stage whose site is the harbour.
fn staged(name: &str) -> (Stage, PathBuf) {
    let mut stage = Stage::set(name);
    let site = harbour(&stage);
    stage.env("HOMESTAK_SITE_CONFIG", &site);
    (stage, site)
}

#[test]
fn every_manifest_of_a_site_validates_plans_and_applies_and_machines_get_what_is_theirs() {
    let (stage, _) = staged("harbour");
    assert_eq!(stage.json(0, &["site", "check"])["valid"], true);
    for manifest in ["lighthouse", "mooring"] {
        assert_eq!(stage.json(0, &["validate", manifest])["valid"], true);
        let plan = stage.json(0, &["plan", manifest]);
        assert!(plan["nodes"].as_array().unwrap().iter().all(|node| node["resolved"]["token"] == "[secret]"), "{plan}");
        assert_eq!(stage.json(0, &["apply", manifest])["success"], true);
    }
    let lamp = stage.machine("local/lighthouse/rock/lamp");
    let spec = fs::read_to_string(lamp.state().join("spec.yaml")).unwrap();
    for part in ["light.example", "zora@tower", "permit_root_login"] {
        assert!(spec.contains(part), "{part} is not in {spec}");
    }
    // No file below the coordinator has the signing key or a token for an API.
    for file in homestak_tests::machine::files_below(&stage.state().join("machines")) {
        let bytes = fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("7a1e0c55d3b9426f") && !text.contains("harbour=1111"), "{}", file.display());
    }
    stage.strike();
}

#[test]
fn a_plan_as_json_is_one_document_and_has_no_secret_in_it() {
    let (stage, _) = staged("masked");
    for arguments in [&["plan", "lighthouse"][..], &["apply", "lighthouse", "--dry-run"]] {
        let outcome = stage.coord(&[arguments, &["--json"]].concat()).exits(0);
        let plan: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let rock = &plan["nodes"][0]["resolved"];
        assert_eq!((&rock["disk"], &rock["memory"], &rock["mode"]), (&json!(120), &json!(12_288), &json!("push")));
        assert_eq!(rock["first_boot"]["root_password"], "[secret]");
        assert_eq!(rock["first_boot"]["ssh_keys"][0], "ssh-ed25519 [secret] zora@tower");
        for secret in ["notahash", "AAAAC3Nza", "harbour=1111", "7a1e0c55"] {
            assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{secret}");
        }
    }
    stage.strike();
}

#[test]
fn a_bad_edit_is_refused_with_its_place_and_leaves_what_runs_alone() {
    let (stage, site) = staged("edits");
    stage.json(0, &["apply", "mooring"]);
    let good = fs::read(site.join("specs/base.yaml")).unwrap();
    fs::write(site.join("specs/base.yaml"), "schema_version: 1\nacces: {}\n").unwrap();
    fs::write(site.join("presets/barge.yaml"), "cores: many\n").unwrap();
    for verb in ["apply", "plan", "validate"] {
        let outcome = stage.coord(&[verb, "mooring"]).exits(3);
        for part in ["specs/base.yaml:2:1", "did you mean \"access\"?", "presets/barge.yaml:1:8"] {
            assert!(outcome.stderr.contains(part), "{verb}: {outcome}");
        }
    }
    let server = stage.json(0, &["server", "status"]);
    assert!(server["problems"][0].as_str().unwrap().contains("the last good site stays in force"), "{server}");
    assert_eq!(stage.json(0, &["status", "mooring"])["state"], "ready");
    // Mended, it is taken at the next command; nobody has to be told.
    fs::write(site.join("specs/base.yaml"), good).unwrap();
    fs::remove_file(site.join("presets/barge.yaml")).unwrap();
    fs::write(site.join("presets/vm-small.yaml"), "cores: 3\nmemory: 1536\ndisk: 12\n").unwrap();
    let plan = stage.json(0, &["plan", "mooring"]);
    assert_eq!((&plan["changes"], &plan["nodes"][0]["resolved"]["cores"]), (&json!(1), &json!(3)));
    assert_eq!(stage.json(0, &["server", "status"])["problems"], json!([]));
    // What is only taken down needs no site at all.
    fs::write(site.join("site.yaml"), "defaults: [").unwrap();
    stage.json(0, &["destroy", "mooring", "--yes"]);
    stage.strike();
}

#[test]
fn a_daemon_comes_up_over_a_bad_site_to_look_after_what_is_on_record() {
    let (stage, site) = staged("bad");
    fs::write(site.join("site.yaml"), "defaults: {gateway: 999.1.1.1}\n").unwrap();
    let outcome = stage.coord(&["apply", "mooring"]).exits(3);
    assert!(outcome.stderr.contains("site.yaml:1:21") && outcome.stderr.contains("999 is more than 255"), "{outcome}");
    assert_eq!(stage.json(0, &["status"])["trees"], json!([]));
    stage.strike();
}

#[test]
fn tokens_are_signed_with_the_sites_key_as_it_is_now_and_with_the_coordinators_where_there_is_none() {
    const KEY: &str = "c2d298ff0286a62cca51d964ab7008e0de2cf00d4d457c9226d4ac5ea513c8e7";
    const TOKEN: &str =
        "eyJ2IjoxLCJuIjoiZWRnZSIsInMiOiJiYXNlIiwiaWF0IjoxNzM4ODAwMDAwfQ.YaZoWepsaOKB7lpAI0AanPxhatgI028fdJ7ufPybXfg";
    let (stage, site) = staged("tokens");
    let secrets = site.join("secrets.yaml");
    let mint = || stage.coord(&["token", "mint", "edge", "base", "--iat", "1738800000"]).exits(0).stdout;
    let with = |key: &str| {
        fs::read_to_string(&secrets)
            .unwrap()
            .lines()
            .map(|line| match line.contains(" signing_key:") {
                true => format!("  signing_key: {key}\n"),
                false => format!("{line}\n"),
            })
            .collect::<String>()
    };
    assert_ne!(mint().trim(), TOKEN);
    fs::write(&secrets, with(KEY)).unwrap();
    assert_eq!(mint(), format!("{TOKEN}\n"));
    assert_eq!(stage.json(0, &["token", "inspect", TOKEN, "--verify"])["signature"], "valid");
    let (payload, signature) = TOKEN.split_once('.').unwrap();
    for bad in [
        format!("{TOKEN}="),
        format!("{payload}.{}h", &signature[..42]),
        format!("{payload}!.{signature}"),
        payload.into(),
    ] {
        assert_eq!(stage.json(3, &["token", "inspect", &bad, "--verify"])["error"]["code"], "E300", "{bad}");
    }
    // Of another node: `edga`.
    let tampered = format!("{}.{signature}", payload.replace("ZWRnZSIs", "ZWRnYSIs"));
    let told = stage.json(3, &["token", "inspect", &tampered, "--verify"]);
    assert_eq!((&told["node"], &told["signature"]), (&json!("edga"), &json!("invalid")));
    // Without a key in the site the coordinator's own counts, and is the same each time.
    fs::write(&secrets, with("\"\"")).unwrap();
    let own = mint();
    assert!(own.trim() != TOKEN && own == mint());
    assert_eq!(stage.json(0, &["token", "inspect", own.trim(), "--verify"])["signature"], "valid");
    assert_eq!(stage.json(3, &["token", "inspect", TOKEN, "--verify"])["signature"], "invalid");
    stage.strike();
}

#[test]
fn a_host_that_the_site_has_not_is_refused_with_the_way_out() {
    let (stage, _) = staged("hosts");
    for verb in ["apply", "plan"] {
        let outcome = stage.coord(&[verb, "mooring", "-H", "peir"]).exits(3);
        for part in ["nodes/peir.yaml", "hosts/peir.yaml", "Available: dinghy, pier", "did you mean pier?"] {
            assert!(outcome.stderr.contains(part), "{verb}: {outcome}");
        }
    }
    // One that is there and whose agent has never joined is another matter; who would log in is none.
    stage.coord(&["apply", "mooring", "-H", "root@pier"]).exits(4);
    stage.strike();
}
