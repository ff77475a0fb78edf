//! What only its owner may read: modes of all state, and no secret in any log, argument, environment, output, or in the
//! clear in a journal or the store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use homestak_tests::machine::files_below;
use homestak_tests::stage::Stage;

/// Whether this is a part of a simulated machine's root file system, and not of the state around it.
fn inside_a_machine(path: &Path) -> bool {
    path.ancestors().skip(1).any(|above| above.ends_with("root") && above.with_file_name("machine.json").exists())
}

/// A real secret and what it is.
struct Secret {
    what: String,
    forms: Vec<Vec<u8>>,
}

#[test]
fn state_files_are_0600_and_folders_0700() {
    let stage = Stage::set("modes");
    stage.json(0, &["apply", "n3-deep"]);
    stage.coord(&["server", "backup", stage.folder().join("backup").to_str().unwrap()]).exits(0);
    let mut paths = files_below(&stage.state());
    // Below `root` lies what a machine is made of, with the modes that its spec wants; nobody gets as far as there.
    paths.retain(|path| !inside_a_machine(path));
    paths.extend([stage.state(), stage.folder().join("backup")]);
    assert!(paths.len() > 20, "{paths:#?}");
    let open: Vec<_> = paths
        .iter()
        .filter_map(|path| {
            let meta = fs::symlink_metadata(path).ok().filter(|meta| !meta.is_symlink())?;
            let (mode, due) = (meta.permissions().mode() & 0o7777, if meta.is_dir() { 0o700 } else { 0o600 });
            (mode != due).then(|| format!("{mode:o} {}", path.display()))
        })
        .collect();
    assert!(open.is_empty(), "{open:#?}");
    stage.strike();
}

#[test]
fn no_secret_is_in_a_log_an_argument_an_environment_an_output_or_in_the_clear_on_disk() {
    let mut stage = Stage::set("secrets");
    stage.env("HOMESTAK_LOG", "trace").env("RUST_LOG", "trace");
    stage.env("HOMESTAK_LOCAL_FAULTS", "leaf-pve:configure:fail:1,edge:configure:fail-permanent");
    let mut told = Vec::new();
    let mut run = |arguments: &[&str]| {
        let outcome = stage.coord(arguments);
        told.push((outcome.shown.clone(), format!("{}{}", outcome.stdout, outcome.stderr).into_bytes()));
    };
    run(&["-v", "apply", "n3-deep"]);
    run(&["apply", "n3-deep", "--json"]);
    for arguments in [
        ["status", "n3-deep", "--json"].as_slice(),
        &["agents", "--json"],
        &["runs", "--json"],
        &["plan", "n3-deep", "--json"],
        &["server", "status", "--json"],
        &["apply", "n1-push", "-H", "nowhere"],
    ] {
        run(arguments);
    }
    let secrets = secrets(&stage);
    for process in stage.processes() {
        for part in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{part}", process.pid)).unwrap_or_default();
            told.push((format!("{part} of {:?}", process.arguments), bytes));
        }
    }
    let mut looked_at = 0;
    for path in files_below(&stage.state()).into_iter().filter(|path| path.is_file()) {
        if !may_hold_secrets(&path) {
            looked_at += 1;
            told.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
    assert!(looked_at > 10, "only {looked_at} files were looked at");
    let leaks: Vec<_> = told
        .iter()
        .flat_map(|(place, bytes)| {
            secrets.iter().filter(|secret| secret.is_in(bytes)).map(move |secret| format!("{} in {place}", secret.what))
        })
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    stage.strike();
}

/// The files that are there to hold a secret, closed to others: keys and the token that a machine is born with.
fn may_hold_secrets(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["agent.yaml", "key.der", "secrets.json", "signing.key"].contains(&name)
}

/// Every real secret of a stage: the machines' tokens, the signing key, and all private keys.
fn secrets(stage: &Stage) -> Vec<Secret> {
    let files: Vec<PathBuf> = files_below(&stage.state()).into_iter().filter(|path| path.is_file()).collect();
    let mut secrets = Vec::new();
    for file in files.iter().filter(|file| file.ends_with("agent.yaml")) {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("token:")).expect("a machine is given a token");
        let token = line.trim().trim_matches(['"', '\'']);
        assert_eq!(token.split('.').count(), 2, "{token}");
        secrets.push(Secret { what: format!("the token of {}", file.display()), forms: vec![token.into()] });
        let (_, signature) = token.split_once('.').unwrap();
        secrets.push(Secret { what: format!("the signature of {}", file.display()), forms: vec![signature.into()] });
    }
    for file in files.iter().filter(|file| file.ends_with("key.der")) {
        let der = fs::read(file).unwrap();
        // The private scalar of a P-256 key (RFC 5915): an octet string of 32 bytes.
        let at = der.windows(2).position(|pair| pair == [4, 32]).expect("a private key") + 2;
        secrets.push(Secret::bytes(format!("the private key {}", file.display()), &der[at..at + 32]));
    }
    assert!(secrets.len() >= 3 * 2 + 4, "{} secrets were found", secrets.len());
    secrets
}

impl Secret {
    /// As it is, in hex of either case, and in base64 wherever it begins.
    fn bytes(what: String, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
        Self { what, forms }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form))
    }
}
