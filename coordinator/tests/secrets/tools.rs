//! The real programs, where they are on this machine: what they encrypt is read here, and what is encrypted here they read.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use homestak_coord::site::secrets::{Creation, decrypt, encrypt, remove_plain};
use tempfile::TempDir;

use crate::stage::{fixture, folder, identity, recipient, shape, text};

const NOW: &str = "2024-05-01T12:00:00Z";

/// Whether a program is there. In CI, one that the Makefile installs must be.
fn there(program: &str, installed: bool) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || !installed || std::env::var_os("CI").is_none(), "CI has {program}");
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

/// Runs a program on a file's text and gives what it says on stdout.
#[track_caller]
fn run(program: &str, arguments: &[&OsStr], input: &str, env: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    fs::write(&file, input).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).envs(env.iter().copied()).stdin(fs::File::open(&file).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A site folder with these secrets, encrypted here.
fn ours(plain: &str) -> TempDir {
    let dir = folder("secrets.yaml", plain);
    encrypt(dir.path(), &Creation::to(&[recipient()]).unwrap(), NOW).unwrap();
    remove_plain(dir.path()).unwrap();
    dir
}

fn sealed(dir: &Path) -> String {
    fs::read_to_string(dir.join("secrets.yaml.enc")).unwrap()
}

#[test]
fn what_the_age_command_encrypts_is_read() {
    if !there("age", true) {
        return;
    }
    let recipient = recipient();
    let armoured =
        run("age", &["--armor".as_ref(), "--recipient".as_ref(), recipient.as_ref()], &text("plain.yaml"), &[]);
    let dir = folder("secrets.yaml.age", armoured);
    assert_eq!(*decrypt(dir.path(), &identity()).unwrap(), text("plain.yaml"));
}

#[test]
fn the_age_command_opens_the_data_key_that_is_written_here() {
    if !there("age", true) {
        return;
    }
    let dir = ours(&text("plain.yaml"));
    let sealed = sealed(dir.path());
    let (_, copy) = sealed.split_once("enc: |\n").unwrap();
    let copy: String = copy
        .lines()
        .take_while(|line| line.starts_with("                "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let key = fixture("test-identity.txt");
    let file = dir.path().join("copy");
    fs::write(&file, copy).unwrap();
    let output = Command::new("age").args(["--decrypt", "--identity"]).arg(key).arg(file).output().unwrap();
    assert_eq!(output.stdout.len(), 32, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn rops_and_we_read_each_other() {
    if !there("rops", false) {
        return;
    }
    let key = text("test-identity.txt").lines().find(|line| line.starts_with("AGE-SECRET")).unwrap().to_owned();
    let env = [("ROPS_AGE", key.as_str())];
    let words = |words: &'static [&'static str]| words.iter().map(OsStr::new).collect::<Vec<_>>();
    // Empty text, which SOPS leaves as it is, is an error to it.
    let plain: String =
        text("plain.yaml").lines().filter(|line| !line.ends_with("\"\"")).map(|line| format!("{line}\n")).collect();
    let theirs = run("rops", &words(&["decrypt", "--format", "yaml"]), &sealed(ours(&plain).path()), &env);
    assert_eq!(shape(&theirs), shape(&plain));
    let recipient = recipient();
    let mut encrypting = words(&["encrypt", "--format", "yaml", "--age"]);
    encrypting.push(recipient.as_ref());
    let dir = folder("secrets.yaml.enc", run("rops", &encrypting, &text("plain.yaml"), &env));
    assert_eq!(shape(&decrypt(dir.path(), &identity()).unwrap()), shape(&text("plain.yaml")));
}

/// `npm install sops-age` somewhere, and `NODE_PATH` set to its `node_modules`, make this run.
#[test]
fn sops_age_reads_what_is_written_here() {
    const SCRIPT: &str = "const { decryptSops } = require('sops-age'); const fs = require('fs');
        const secretKey = process.argv[1].split('\\n').find((line) => line.startsWith('AGE-SECRET-KEY'));
        decryptSops(fs.readFileSync(0, 'utf8'), { secretKey, fileType: 'yaml' }).then((tree) => console.log(JSON.stringify(tree)));";
    let found = Command::new("node").args(["-e", "require('sops-age')"]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("skipped: node finds no sops-age");
        return;
    }
    let identity = text("test-identity.txt");
    let plain = text("plain.yaml");
    let theirs = run("node", &["-e".as_ref(), SCRIPT.as_ref(), identity.as_ref()], &sealed(ours(&plain).path()), &[]);
    assert_eq!(shape(&theirs), shape(&text("plain.yaml")));
}
