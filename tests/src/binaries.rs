//! The programs under test, built once in each test process, in the profile and target folder that the test was built in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the programs are.
#[derive(Debug)]
pub struct Binaries {
    /// `homestak-coord`.
    pub coord: PathBuf,
    /// `homestak-agent`.
    pub agent: PathBuf,
}

/// The programs; built when they are first asked for.
pub fn binaries() -> &'static Binaries {
    static BUILT: OnceLock<Binaries> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// The folder that holds the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn build() -> Binaries {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in <target>/<profile>/deps");
    let target = profile.parent().expect("a profile lies in a target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "homestak-coord", "-p", "homestak-agent", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    // What cargo tells the test about the test's own crate is not true of the crates that are built here.
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "HOMESTAK_"];
        if own.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    let built = command.current_dir(workspace()).output().expect("cargo can be run");
    assert!(built.status.success(), "the programs cannot be built:\n{}", String::from_utf8_lossy(&built.stderr));
    Binaries { coord: profile.join("homestak-coord"), agent: profile.join("homestak-agent") }
}
