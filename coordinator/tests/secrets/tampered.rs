//! A file that was changed since it was encrypted is refused, with the place and a hint and nothing of what is in it.

use homestak_coord::site::secrets::{decrypt, open};

use crate::stage::{VALUES, folder, identity, text};

/// The codes with which a changed file is refused.
#[track_caller]
fn refused(text: &str) -> Vec<&'static str> {
    let dir = folder("secrets.yaml.enc", text);
    let problems = open(dir.path(), &identity()).unwrap_err();
    assert!(decrypt(dir.path(), &identity()).is_err());
    for problem in &problems {
        let shown = format!("{problem}{problem:?}");
        assert!(VALUES.iter().all(|value| !shown.contains(value)) && !shown.contains("AGE-SECRET"), "{shown}");
        assert!(problem.hint.is_some() && problem.source.is_none(), "{shown}");
    }
    problems.iter().map(|problem| problem.code).collect()
}

/// The encrypted value of a key.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap();
    line.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn a_value_that_was_changed_moved_or_laid_bare_is_named() {
    for file in ["python-sops.yaml", "rops.yaml"] {
        let text = text(file);
        let (one, two) = (value(&text, "father"), value(&text, "attic"));
        let swapped = text.replace(&one, "<>").replace(&two, &one).replace("<>", &two);
        assert_eq!(refused(&swapped), ["E666", "E666"], "{file}: swapped");
        assert_eq!(refused(&text.replace(&one, &two)), ["E666"], "{file}: copied");
        let changed = one.replacen("data:", "data:AAAA", 1);
        assert_eq!(refused(&text.replace(&one, &changed)), ["E666"], "{file}: changed");
        assert_eq!(refused(&text.replace(&one, "bare")), ["E664"], "{file}: not encrypted");
        assert_eq!(
            refused(&text.replace(&one, &one.replace("type:str", "type:set"))),
            ["E665"],
            "{file}: unknown type"
        );
    }
}

#[test]
fn values_that_were_removed_added_or_put_in_another_order_are_noticed() {
    for file in ["python-sops.yaml", "rops.yaml", "rops-unencrypted-regex-mac-only.yaml"] {
        let text = text(file);
        let without = |key: &str| -> String {
            text.lines()
                .filter(|line| !line.trim_start().starts_with(&format!("{key}:")))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        assert_eq!(refused(&without("attic")), ["E667"], "{file}: removed");
        assert_eq!(refused(&without("mac")), ["E664"], "{file}: no code");
        let (one, two) =
            (format!("  father: {}\n", value(&text, "father")), format!("  attic: {}\n", value(&text, "attic")));
        assert_eq!(
            refused(&text.replace(&format!("{one}{two}"), &format!("{two}{one}"))),
            ["E667"],
            "{file}: reordered"
        );
        let later = text.replace("2026-", "2027-");
        assert_eq!(refused(&later), ["E667"], "{file}: the time of the change");
        let mac = value(&text, "mac");
        assert_eq!(refused(&text.replace(&mac, &value(&text, "father"))), ["E667"], "{file}: another's code");
    }
    let text = text("rops-encrypted-regex.yaml");
    assert_eq!(refused(&text.replace("port: 8006", "port: 8007")), ["E667"], "what is plain is covered too");
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let text = text("rops.yaml");
    let dir = folder("secrets.yaml.enc", "");
    for end in (0..text.len()).step_by(97).filter(|end| text.is_char_boundary(*end)) {
        std::fs::write(dir.path().join("secrets.yaml.enc"), &text[..end]).unwrap();
        match open(dir.path(), &identity()) {
            Err(_) => {}
            Ok(opened) => panic!("{end} of {} bytes are believed: {opened:?}", text.len()),
        }
    }
}

#[test]
fn a_whole_file_that_was_changed_is_refused() {
    let bytes = std::fs::read(crate::stage::fixture("whole.age")).unwrap();
    for at in (0..bytes.len()).step_by(31) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let dir = folder("secrets.yaml.age", &changed);
        let opened = open(dir.path(), &identity());
        assert!(!opened.is_ok_and(|opened| opened.secrets().is_ok()), "byte {at} may be anything");
    }
}
