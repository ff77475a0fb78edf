//! What cannot be read or written at all: told for the file or folder as a whole.

use std::fs;
use std::os::unix::fs::symlink;

use super::harbour::Harbour;
use crate::site::secrets::init;

/// The codes that are told of this folder.
fn told(harbour: &Harbour) -> Vec<(String, String)> {
    let problems = harbour.open().err().map(|broken| broken.problems().to_vec()).unwrap_or_default();
    let file = |file: &str| file.rsplit_once("/").map_or(file, |(_, name)| name).to_owned();
    problems.iter().map(|problem| (problem.code.to_string(), file(&problem.file))).collect()
}

#[track_caller]
fn tells(harbour: &Harbour, code: &str, file: &str) {
    let told = told(harbour);
    assert!(told.contains(&(code.to_owned(), file.to_owned())), "{code} of {file}: {told:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_read() {
    let harbour = Harbour::new();
    // Root reads what others may not, but nobody follows a link to itself.
    let link = harbour.path().join("presets/loop.yaml");
    symlink(&link, &link).unwrap();
    harbour.write("specs/base.yaml", "schema_version: 2\n");
    tells(&harbour, "E644", "loop.yaml");
    tells(&harbour, "E611", "base.yaml");
    let refusal = harbour.open().err().unwrap().refusal();
    assert_eq!(refusal.error.code, "E649");
    assert_eq!(refusal.diagnostics.len(), 2);
}

#[test]
fn a_folder_of_more_files_than_a_site_can_have_is_not_read_to_its_end() {
    let harbour = Harbour::new();
    for number in 0..10_001 {
        fs::write(harbour.path().join(format!("specs/s{number}.yaml")), "schema_version: 1\n").unwrap();
    }
    let told = told(&harbour);
    let many: Vec<_> = told.iter().filter(|(code, _)| code == "E645").collect();
    assert_eq!(many.len(), 1, "{many:?}");
}

#[test]
fn a_secrets_file_that_age_did_not_write_to_its_end_is_told_as_that() {
    let harbour = Harbour::new();
    harbour.remove("secrets.yaml");
    harbour.write("secrets.yaml.enc", "age-encryption.org/v1\n-> X25519 c2hvcnQ\n");
    tells(&harbour, "E668", "secrets.yaml.enc");
}

#[test]
fn secrets_that_cannot_be_written_are_told_with_the_place() {
    let harbour = Harbour::new();
    let missing = harbour.path().join("not/there");
    let problems = init(&missing, None, "2026-01-01T00:00:00Z").unwrap_err();
    assert_eq!(problems[0].code.to_string(), "E673");
    assert!(problems[0].file.contains("not/there/secrets.yaml"), "{}", problems[0].file);
}
