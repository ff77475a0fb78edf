//! A site whose secrets are encrypted: the identity goes from the command to the daemon's memory and nowhere else, and what
//! it opens is in no file, log, argument, environment or output.

use std::fs;
use std::path::PathBuf;

use homestak_tests::machine::files_below;
use homestak_tests::stage::Stage;

/// An identity for tests alone, and its recipient.
const IDENTITY: &str = "AGE-SECRET-KEY-18K7CLTZ73CQZC3QELHSSGLNS6YN2XNM9KWSRM703WX02J4J5GQ6QGAHG8V";
const RECIPIENT: &str = "age1k79q2ecj226l8qm5372kpnlz07wnrx97r95cc2mc7m7fp22n9yfqluuarh";

const TOKEN: &str = "00000000-1111-4222-8333-tokenoffather";
const HASH: &str = "$6$madeup$TheHashOfNobodysPassword";
const KEY: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// A site folder with encrypted secrets, made by the program itself.
fn site(stage: &mut Stage) -> PathBuf {
    let site = stage.folder().join("site");
    for folder in ["presets", "postures", "specs", "nodes", "hosts"] {
        fs::create_dir_all(site.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(site.join(name), text).unwrap();
    write("site.yaml", "defaults:\n  domain: sealed.example\n  bridge: vmbr0\n");
    for (preset, memory, disk) in [("vm-small", 2048, 10), ("vm-large", 8192, 64)] {
        write(&format!("presets/{preset}.yaml"), &format!("cores: 2\nmemory: {memory}\ndisk: {disk}\n"));
    }
    write(
        "postures/dev.yaml",
        "auth: {method: network}\nssh: {port: 22, permit_root_login: \"no\", password_authentication: \"no\"}\nsudo: {nopasswd: true}\nfail2ban: {enabled: false}\npackages: []\n",
    );
    for spec in ["base", "pve"] {
        write(
            &format!("specs/{spec}.yaml"),
            "schema_version: 1\naccess:\n  posture: dev\n  users: [{name: homestak, sudo: true}]\n",
        );
    }
    write(
        "secrets.yaml",
        &format!(
            "api_tokens:\n  father: root@pam!homestak={TOKEN}\npasswords:\n  vm_root: {HASH}\nssh_keys:\n  me@desk: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMadeUp me@desk\nauth:\n  signing_key: {KEY}\n"
        ),
    );
    stage.env("HOMESTAK_SITE_CONFIG", &site);
    stage.json(0, &["secrets", "encrypt", "--recipient", RECIPIENT, "--remove-plain"]);
    assert!(!site.join("secrets.yaml").exists());
    site
}

#[test]
fn a_daemon_without_an_identity_says_so_and_one_that_is_lent_it_goes_on() {
    let mut stage = Stage::set("locked");
    site(&mut stage);
    // One that stays, however long the commands take to follow each other.
    stage.json(0, &["server", "start"]);
    let refused = stage.json(3, &["apply", "n1-push"]);
    assert_eq!(refused["error"]["code"], "E663", "{refused:#}");
    let told = refused["error"].to_string();
    assert!(told.contains("encrypted") && told.contains("keys.txt"), "{told}");
    stage.json(0, &["status"]);
    let daemon = stage.daemon().expect("it runs, for what needs no secret");
    stage.env("SOPS_AGE_KEY", IDENTITY);
    stage.json(0, &["apply", "n1-push"]);
    assert_eq!(stage.daemon().map(|daemon| daemon.pid), Some(daemon.pid), "the same daemon, lent the identity since");
    stage.unset("SOPS_AGE_KEY");
    stage.json(0, &["plan", "n1-push"]);
    stage.strike();
}

#[test]
fn what_is_opened_is_nowhere_but_in_memory() {
    let mut stage = Stage::set("sealed");
    stage.env("HOMESTAK_LOG", "trace").env("RUST_LOG", "trace");
    let site = site(&mut stage);
    stage.env("SOPS_AGE_KEY", IDENTITY);
    let mut told = Vec::new();
    for arguments in [
        ["-v", "apply", "n2-tiered"].as_slice(),
        &["apply", "n2-tiered", "--json"],
        &["plan", "n2-tiered", "--json"],
        &["status", "--json"],
        &["secrets", "check", "--json"],
        &["secrets", "check", "-v"],
        &["server", "status", "--json"],
        &["agents", "--json"],
    ] {
        let outcome = stage.coord(arguments).exits(0);
        told.push((outcome.shown.clone(), format!("{}{}", outcome.stdout, outcome.stderr).into_bytes()));
    }
    let processes = stage.processes();
    assert!(processes.len() >= 4, "the daemon, the host's agent and two machines: {processes:#?}");
    for process in processes {
        for part in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{part}", process.pid)).unwrap_or_default();
            told.push((format!("{part} of {:?}", process.arguments), bytes));
        }
    }
    let files: Vec<_> =
        [stage.state(), site].iter().flat_map(|dir| files_below(dir)).filter(|path| path.is_file()).collect();
    assert!(files.len() > 15, "only {} files were looked at", files.len());
    for path in files {
        // What a machine's first boot is told is for that machine to read; it is closed to others.
        let first_boot = path.file_name().is_some_and(|name| name == "secrets.json");
        if !first_boot {
            told.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
    let key: Vec<u8> = (0..KEY.len() / 2).map(|at| u8::from_str_radix(&KEY[2 * at..2 * at + 2], 16).unwrap()).collect();
    let secrets: [&[u8]; 6] =
        [IDENTITY.as_bytes(), TOKEN.as_bytes(), HASH.as_bytes(), KEY.as_bytes(), &key, b"AGE-SECRET-KEY-1"];
    for (place, bytes) in &told {
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part.eq_ignore_ascii_case(secret));
            assert!(!found, "{} is in {place}", String::from_utf8_lossy(secret));
        }
    }
    stage.strike();
}
