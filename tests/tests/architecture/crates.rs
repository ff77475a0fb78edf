//! What each crate may depend on.

use cargo_metadata::MetadataCommand;

use crate::source;

/// A crate and the names of all its direct dependencies, those of its tests included.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<String>,
}

/// The crates of homestak that each of them may depend on. The agent and the coordinator never know each other.
const OURS: &[(&str, &[&str])] = &[
    ("homestak-protocol", &[]),
    ("homestak-manifests", &["homestak-protocol"]),
    ("homestak-node", &["homestak-protocol"]),
    ("homestak-agent", &["homestak-protocol", "homestak-manifests", "homestak-node"]),
    ("homestak-coord", &["homestak-protocol", "homestak-manifests", "homestak-node"]),
    (
        "homestak-tests",
        &["homestak-protocol", "homestak-manifests", "homestak-node", "homestak-agent", "homestak-coord"],
    ),
];

/// Crates of others that only some of ours may depend on. The tests' own crate plays hostile peers and may know them all.
const THEIRS: &[(&str, &[&str])] = &[
    ("quinn", &["homestak-node"]),
    ("rustls", &["homestak-node"]),
    ("tokio-rustls", &["homestak-node"]),
    ("rcgen", &["homestak-node"]),
    ("bincode", &["homestak-protocol"]),
    ("yaml_serde", &["homestak-manifests", "homestak-coord", "homestak-agent"]),
    ("saphyr-parser", &["homestak-manifests"]),
    ("petgraph", &["homestak-manifests"]),
    ("rusqlite", &["homestak-coord"]),
];

/// Crates that decide and do nothing: what runs, waits, or touches the machine is not for them.
const PURE: &[&str] = &["homestak-protocol", "homestak-manifests"];
const NOT_PURE: &[&str] =
    &["tokio", "tokio-util", "axum", "hyper", "rustix", "libc", "sysinfo", "tracing", "rand", "getrandom"];

const TESTS: &str = "homestak-tests";

/// The crates of the workspace as cargo sees them.
pub(crate) fn workspace() -> Vec<Package> {
    let manifest = source::root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let of = |package: &cargo_metadata::Package| Package {
        name: package.name.to_string(),
        dependencies: package.dependencies.iter().map(|dependency| dependency.name.clone()).collect(),
    };
    metadata.packages.iter().map(of).collect()
}

/// Every dependency that is not allowed, one a line.
pub(crate) fn violations(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(of).collect()
}

fn of(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, ours)) = OURS.iter().find(|(of, _)| *of == name) else {
        return vec![format!("{name}: a crate that no rule speaks of; add it to OURS")];
    };
    let forbidden = |dependency: &str| {
        // A crate may name itself for its own tests.
        if dependency.starts_with("homestak-") && dependency != name && !ours.contains(&dependency) {
            return Some(format!("{name} depends on {dependency}"));
        }
        if PURE.contains(&name) && NOT_PURE.contains(&dependency) {
            return Some(format!("{name} is pure and depends on {dependency}"));
        }
        let (_, users) = THEIRS.iter().find(|(theirs, _)| *theirs == dependency)?;
        (name != TESTS && !users.contains(&name)).then(|| format!("{name} depends on {dependency}"))
    };
    package.dependencies.iter().filter_map(|dependency| forbidden(dependency)).collect()
}
