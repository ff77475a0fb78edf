//! What a source file may name, by where it lies.

use crate::source::{self, Source};

/// The longest file: past that it wants to be two.
pub(crate) const MAX_LINES: usize = 600;

/// A path that only some files may name. A file is meant by how its own path begins.
struct Rule {
    /// Segments that follow one another; a last one that ends in `*` is a beginning.
    path: &'static [&'static str],
    /// Where it counts; everywhere if empty.
    within: &'static [&'static str],
    /// Who may.
    except: &'static [&'static str],
    why: &'static str,
}

const PURE: &[&str] = &["protocol/src/", "manifests/src/", "node/src/core/", "node/src/operator/"];
const YAML: &[&str] = &[
    "manifests/src/parse",
    "manifests/src/yaml",
    "manifests/src/draw",
    "coordinator/src/site",
    "agent/src/files",
    "manifests/tests/",
    "manifests/benches/",
    "tests/",
];
/// What runs, where time must be injectable: tokio's can be paused, the wall clock is asked in one place a crate.
const RUNNING: &[&str] = &["node/src/", "agent/src/", "coordinator/src/"];
const CLOCKS: &[&str] = &[
    "node/src/trust/clock.rs",
    "node/src/runtime/shell.rs",
    "agent/src/config/marker.rs",
    "agent/src/provider/local/trash.rs",
    "coordinator/src/runs/clock.rs",
];
/// Hostile peers of tests make their own.
const TLS: &[&str] = &["node/src/tls", "node/src/transport/tests/", "tests/"];
/// A connection that is not answered: quinn's word for it.
const IGNORE: &[&str] = &["node/src/transport/hub/door.rs"];
const STORE: &[&str] = &["coordinator/src/store", "tests/"];

const RULES: &[Rule] = &[
    only(&["quinn"], &["node/", "tests/"], "only node names quinn"),
    only(&["bincode"], &["protocol/src/codec.rs"], "only protocol::codec names bincode"),
    only(&["serde_yaml"], YAML, "YAML is read where files are read"),
    only(&["yaml_serde"], YAML, "YAML is read where files are read"),
    only(&["saphyr_parser"], &["manifests/src/parse", "manifests/src/yaml"], "only manifests parses YAML itself"),
    only(&["rusqlite"], STORE, "the store is behind one trait"),
    only(&["ServerConfig", "builder*"], TLS, "only node::tls builds TLS configurations"),
    only(&["ClientConfig", "builder*"], TLS, "only node::tls builds TLS configurations"),
    only(&["ServerConfig", "with_single_cert"], TLS, "only node::tls builds TLS configurations"),
    only(&["ClientConfig", "with_root_certificates"], TLS, "only node::tls builds TLS configurations"),
    only(&["ClientConfig", "with_platform_verifier"], TLS, "only node::tls builds TLS configurations"),
    only(&["unsafe"], &[], "no unsafe code"),
    only(&["todo"], &[], "what is begun is finished"),
    only(&["unimplemented"], &[], "what is begun is finished"),
    only(&["dbg"], &[], "what is begun is finished"),
    only(&["ignore"], IGNORE, "a test that cannot run says so, and does not hide"),
    running(&["std", "time", "Instant"], &[], "tokio::time::Instant can be paused in tests"),
    running(&["thread", "sleep"], &[], "wait for what is waited for"),
    running(&["SystemTime", "now"], CLOCKS, "the wall clock is asked in few places"),
    pure(&["tokio"]),
    pure(&["tokio_util"]),
    pure(&["rustix"]),
    pure(&["std", "fs"]),
    pure(&["std", "env"]),
    pure(&["std", "process"]),
    pure(&["std", "thread"]),
    pure(&["std", "os"]),
    pure(&["std", "time", "Instant"]),
    pure(&["std", "time", "SystemTime"]),
    pure(&["std", "net", "TcpStream"]),
    pure(&["std", "net", "TcpListener"]),
    pure(&["std", "net", "UdpSocket"]),
    pure(&["std", "net", "ToSocketAddrs"]),
];

const fn only(path: &'static [&'static str], except: &'static [&'static str], why: &'static str) -> Rule {
    Rule { path, within: &[], except, why }
}

const fn pure(path: &'static [&'static str]) -> Rule {
    Rule { path, within: PURE, except: &[], why: "what decides has no runtime, clock, file or socket" }
}

const fn running(path: &'static [&'static str], except: &'static [&'static str], why: &'static str) -> Rule {
    Rule { path, within: RUNNING, except, why }
}

/// Modules that have what is forbidden beside what is not: pure files name what they use of them, not the whole.
const MODULES: &[&[&str]] = &[&["std", "net"], &["std", "time"]];

/// Words that say that something is not done. In parts, so that this file does not hold them.
const UNDONE: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Everything that a file should not have, one a line, with its place.
pub(crate) fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut tell = |line: usize, what: &str| found.push(format!("{}:{line}: {what}", source.path));
    for (path, line) in &source.names {
        if let Some(rule) = RULES.iter().find(|rule| rule.forbids(source, path)) {
            tell(*line, &format!("names {}: {}", path.join("::"), rule.why));
        }
        let inside = PURE.iter().any(|folder| source.path.starts_with(folder));
        if inside && MODULES.iter().any(|module| whole(path) == *module) {
            tell(*line, &format!("names all of {}: name what is used of it", path.join("::")));
        }
    }
    if !source.text.starts_with("//!") {
        tell(1, "does not begin with `//!`, what it is for");
    }
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        tell(lines, &format!("has {lines} lines, more than {MAX_LINES}"));
    }
    let place = source::root().display().to_string();
    for (index, line) in source.text.lines().enumerate() {
        if line.split(|c: char| !c.is_alphanumeric()).any(|word| UNDONE.contains(&word)) {
            tell(index + 1, "says that something is not done");
        }
        if line.contains(&place) {
            tell(index + 1, "names a place of this machine");
        }
    }
    found
}

/// A path without a closing `self`, which names the module itself.
fn whole(path: &[String]) -> &[String] {
    path.strip_suffix(&["self".to_owned()]).unwrap_or(path)
}

impl Rule {
    fn forbids(&self, source: &Source, path: &[String]) -> bool {
        let in_one = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
        (self.within.is_empty() || in_one(self.within)) && !in_one(self.except) && self.matches(path)
    }

    /// A single segment counts where a path begins: `quinn::x`, not `crate::quinn`. Several count anywhere in it.
    fn matches(&self, path: &[String]) -> bool {
        let same = |(wanted, found): (&&str, &String)| match wanted.strip_suffix('*') {
            Some(beginning) => found.starts_with(beginning),
            None => found == wanted,
        };
        let windows = if self.path.len() == 1 { path.get(..1) } else { Some(path) };
        windows.unwrap_or_default().windows(self.path.len()).any(|window| self.path.iter().zip(window).all(same))
    }
}
