//! What a guest is told: its description, and what its cloud-init or its root file system holds for its agent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fakepve::FakePve;

/// Where a guest's agent finds what it is told.
const ENVIRONMENT: &str = "etc/homestak/agent.env";

/// Where the life of a guest that its cloud-init has seen last is kept, and what it has written then.
const SEEN: &str = "cloud-init.json";

/// What cloud-init would write for the agent of the guest of this name.
pub fn injected(snippets: &Path, name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(snippets.join(format!("{name}-user.yaml"))).unwrap_or_default();
    environment_in(file_of(&document(&text), &format!("/{ENVIRONMENT}")).unwrap_or_default())
}

/// A file that the user-data of the guest of this name writes.
pub fn user_data(snippets: &Path, name: &str, path: &str) -> Option<String> {
    let text = fs::read_to_string(snippets.join(format!("{name}-user.yaml"))).ok()?;
    file_of(&document(&text), path).map(str::to_owned)
}

fn document(text: &str) -> Value {
    serde_json::from_str(text.trim_start_matches("#cloud-config")).unwrap_or_default()
}

fn file_of<'a>(document: &'a Value, path: &str) -> Option<&'a str> {
    let files = document["write_files"].as_array()?;
    files.iter().find(|file| file["path"] == path)?["content"].as_str()
}

/// What cloud-init tells a virtual machine's agent: what the snippets say that the machine's own configuration names, if it
/// has the drive that they are read from. As cloud-init does, it looks at them once in each life.
pub(super) fn in_drive(host: &FakePve, config: &Value, folder: &Path) -> Option<BTreeMap<String, String>> {
    let has_drive = config["ide2"].as_str().is_some_and(|drive| drive.contains("media=cdrom"));
    let snippet = |kind: &str| {
        let named =
            config["cicustom"].as_str()?.split(',').find_map(|part| part.strip_prefix(kind)?.strip_prefix('='))?;
        fs::read_to_string(host.snippets.join(named.strip_prefix("local:snippets/")?)).ok()
    };
    let (user, meta) = has_drive.then(|| Some((snippet("user")?, snippet("meta")?)))??;
    let instance = document(&meta)["instance-id"].as_str()?.to_owned();
    let file = folder.join(SEEN);
    let seen: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap_or_default()).unwrap_or_default();
    if seen["instance"] != instance.as_str() {
        let told = environment_in(file_of(&document(&user), &format!("/{ENVIRONMENT}"))?);
        let seen = json!({ "instance": instance, "environment": told });
        fs::write(&file, seen.to_string()).expect("a stage's folder can be written");
        return Some(told);
    }
    serde_json::from_value(seen["environment"].clone()).ok()
}

/// What a container's agent is told by the file in its root, if the agent is there.
pub(super) fn in_container(root: &Path) -> Option<BTreeMap<String, String>> {
    root.join("usr/local/bin/homestak-agent").exists().then_some(())?;
    fs::read_to_string(root.join(ENVIRONMENT)).ok().map(|text| environment_in(&text))
}

fn environment_in(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// The facts in a guest's description.
pub fn described(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
