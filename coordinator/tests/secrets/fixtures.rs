//! What other software encrypted is read, every value and type of it.

use homestak_coord::site::secrets::{Keys, decrypt, open};

use crate::stage::{fixture, folder, identity, other_identity, secrets, shape, text};

const SOPS: &[&str] = &[
    "python-sops.yaml",
    "rops.yaml",
    "rops-encrypted-regex.yaml",
    "rops-encrypted-suffix.yaml",
    "rops-unencrypted-regex-mac-only.yaml",
    "rops-unencrypted-suffix.yaml",
    "rops-two-recipients.yaml",
];

const AGE: &[&str] = &["whole.age", "whole-armoured.age", "whole-two-recipients.age"];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn stored_as(name: &str) -> &'static str {
    if AGE.contains(&name) { "secrets.yaml.age" } else { "secrets.yaml.enc" }
}

#[test]
fn everything_in_files_of_other_software_is_read() {
    let plain = shape(&text("plain.yaml"));
    for name in SOPS.iter().chain(AGE) {
        let dir = folder(stored_as(name), bytes(name));
        assert_eq!(shape(&decrypt(dir.path(), &identity()).unwrap()), plain, "{name}");
        let read = secrets(dir.path(), &identity());
        let keys: Vec<&str> = read.ssh_keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(keys, ["zoe@desk", "adam@desk"], "{name}: in the order of the file");
        assert!(read.api_token("attic").unwrap().matches("root@pam!homestak=4b5a6978-0000-4000-8000-fixtureattic"));
        assert!(read.passwords.vm_root.as_ref().unwrap().matches("$6$fixture$NobodysPasswordHasThisHash"));
        assert!(read.auth.signing_key.is_some() && read.auth.previous_signing_key.is_none());
    }
}

#[test]
fn each_recipient_opens_what_is_for_it_and_nobody_else() {
    for name in SOPS.iter().chain(AGE) {
        let dir = folder(stored_as(name), bytes(name));
        let for_both = name.contains("two-recipients");
        for (keys, opens) in [(identity(), true), (other_identity(), for_both), (Keys::default(), false)] {
            let opened = open(dir.path(), &keys).unwrap();
            assert_eq!(opened.secrets().is_ok(), opens, "{name}");
            if let Err(locked) = opened.secrets() {
                assert!(opened.is_locked() && locked.code == "E663" && locked.hint.is_some(), "{locked:?}");
            }
        }
    }
}

#[test]
fn a_file_is_what_it_holds_whatever_it_is_called() {
    for name in ["secrets.yaml", "secrets.enc.yaml", "secrets.yaml.enc"] {
        let dir = folder(name, bytes("rops.yaml"));
        assert!(secrets(dir.path(), &identity()).auth.signing_key.is_some(), "{name}");
        let dir = folder(name, bytes("whole.age"));
        assert!(secrets(dir.path(), &identity()).auth.signing_key.is_some(), "{name}");
    }
}

#[test]
fn files_for_keys_that_are_not_read_here_say_which() {
    let (before, section) = text("rops.yaml").split_once("sops:\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let foreign = format!("{before}sops:\n  pgp:\n  - fp: '00'\n    enc: x\n{section}");
    let dir = folder("secrets.yaml.enc", &foreign);
    assert!(open(dir.path(), &identity()).unwrap().secrets().is_ok(), "one recipient that fits is enough");
    let opened = open(dir.path(), &other_identity()).unwrap();
    assert!(opened.secrets().unwrap_err().message.contains("pgp"));
    let split = format!("{before}sops:\n  key_groups:\n  - age: []\n  - age: []\n{section}");
    let refused = open(folder("secrets.yaml.enc", split).path(), &identity()).unwrap_err();
    assert_eq!((refused[0].code, refused[0].hint.is_some()), ("E665", true), "{refused:?}");
}
