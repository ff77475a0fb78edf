//! Fixtures, identities, and trees to compare.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use homestak_coord::site::secrets::{Keys, Secrets, open};
use homestak_manifests::diagnostic::{Report, Source};
use homestak_manifests::yaml::{self, Kind, Resolved, Value};
use tempfile::TempDir;

/// Values of `plain.yaml` that nobody but who asked for them may see.
pub(crate) const VALUES: &[&str] = &[
    "fixturefather",
    "fixtureattic",
    "NobodysPasswordHasThisHash",
    "5f1c7e00aa11bb22cc33dd44ee55ff66778899aabbccddeeff00112233445566",
];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/secrets/fixtures").join(name)
}

pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(fixture(name)).unwrap()
}

pub(crate) fn identity() -> Keys {
    Keys::parse(&text("test-identity.txt")).0
}

pub(crate) fn other_identity() -> Keys {
    Keys::parse(&text("other-test-identity.txt")).0
}

pub(crate) fn recipient() -> String {
    text("test-identity.txt").split("public key: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// A site folder with one secrets file.
pub(crate) fn folder(name: &str, contents: impl AsRef<[u8]>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

/// What a folder's secrets are, with everything that is told on the way.
pub(crate) fn secrets(dir: &Path, keys: &Keys) -> Secrets {
    let opened = open(dir, keys).unwrap();
    opened.secrets().unwrap().clone()
}

/// A tree as one text that tells values and their types apart, but not how they were written.
pub(crate) fn shape(text: &str) -> String {
    let mut report = Report::new(Source::new("f", text));
    let value = yaml::read(&mut report);
    let problems = report.into_diagnostics();
    assert!(problems.is_empty(), "{problems:?}");
    shown(&value.unwrap())
}

fn shown(value: &Value) -> String {
    match &value.kind {
        Kind::Mapping(mapping) => {
            let entries = mapping.entries().iter().map(|entry| format!("{:?}: {}", entry.key, shown(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Kind::Sequence(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Kind::Scalar(scalar) => match scalar.resolve() {
            Resolved::Odd(_) => scalar.as_str().to_owned(),
            resolved => format!("{resolved:?}"),
        },
    }
}
