//! `nodes/NAME.yaml` of a PVE host as its own agent knows it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::PveHost;
use homestak_protocol::path::NodePath;

/// What says who has written it.
const HEAD: &str = "# As its agent told; written by `homestak-coord site import-node`.\n";
/// Where disks lie on a host that named no storage.
const DATASTORE: &str = "local";

/// A file of a node, not written yet.
#[derive(Debug)]
pub struct NodeFile {
    /// Where it belongs.
    pub path: PathBuf,
    text: String,
    /// Whether a file of that name is there, and says the same.
    pub there: Option<bool>,
}

impl NodeFile {
    /// What the site in `dir` says of the host at that place once this is written. One that says something else already is
    /// only replaced where `replace` says so.
    pub fn of(dir: &Path, at: &NodePath, host: &PveHost, replace: bool) -> Result<Self, Fault> {
        let path = dir.join("nodes").join(format!("{}.yaml", at.name()));
        let text = text(at, host, dir.join("hosts").join(format!("{}.yaml", at.name())).exists());
        let there = match fs::read_to_string(&path) {
            Ok(there) => Some(there == text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(&path, "read", &error)),
        };
        if there == Some(false) && !replace {
            let text = format!("{} is there, and says something else", path.display());
            return Err(Fault::new(Code::Conflict, text).hint("--force puts what the agent tells in its place"));
        }
        Ok(Self { path, text, there })
    }

    /// Writes it, whole or not at all.
    pub fn write(&self) -> Result<(), Fault> {
        if self.there == Some(true) {
            return Ok(());
        }
        let draft = self.path.with_extension("yaml.new");
        let write = || -> io::Result<()> {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
            file.write_all(self.text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &self.path)
        };
        write().map_err(|error| unusable(&self.path, "written", &error))
    }
}

fn unusable(path: &Path, doing: &str, error: &io::Error) -> Fault {
    Fault::new(Code::Internal, format!("{} cannot be {doing}: {error}", path.display()))
        .hint("the folder must be yours to write to and its disk not full")
}

/// Its lines. Every value is quoted as JSON, which YAML reads as the text that it is.
fn text(at: &NodePath, host: &PveHost, is_described: bool) -> String {
    let name = at.name().to_owned();
    let lines = [
        ("node", Some(host.node.clone())),
        ("host", is_described.then(|| name.clone())),
        ("parent_node", at.parent().map(|parent| parent.name().to_owned())),
        ("api_endpoint", Some(host.api_endpoint.clone())),
        ("api_token", host.api_token.as_ref().map(|_| name.clone())),
        ("datastore", Some(host.datastore.clone().unwrap_or_else(|| DATASTORE.into()))),
        ("ip", host.address.map(|address| address.to_string())),
    ];
    let said = lines.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let lines: String = said.map(|(key, value)| format!("{key}: {}\n", serde_json::Value::from(value))).collect();
    format!("{HEAD}{lines}")
}

#[cfg(test)]
mod tests {
    use homestak_protocol::secret::Secret;

    use super::*;

    fn host() -> PveHost {
        PveHost {
            node: "father".into(),
            version: "9.0.3".into(),
            api_endpoint: "https://192.0.2.7:8006".into(),
            api_token: Some(Secret::new("homestak@pve!agent=0-1".into())),
            datastore: Some("local-zfs".into()),
            storages: vec!["local".into()],
            bridges: vec!["vmbr0".into()],
            address: Some("192.0.2.7".parse().unwrap()),
        }
    }

    #[test]
    fn a_node_is_written_once_and_never_over_what_somebody_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let at = NodePath::parse("father").unwrap();
        let file = NodeFile::of(dir.path(), &at, &host(), false).unwrap();
        file.write().unwrap();
        let text = fs::read_to_string(dir.path().join("nodes/father.yaml")).unwrap();
        assert_eq!(
            text.strip_prefix(HEAD).unwrap(),
            "node: \"father\"\napi_endpoint: \"https://192.0.2.7:8006\"\napi_token: \"father\"\ndatastore: \"local-zfs\"\nip: \"192.0.2.7\"\n"
        );
        assert!(!text.contains("0-1"), "the token is a secret");
        assert_eq!(NodeFile::of(dir.path(), &at, &host(), false).unwrap().there, Some(true));
        fs::write(&file.path, "node: father\n").unwrap();
        assert_eq!(NodeFile::of(dir.path(), &at, &host(), false).unwrap_err().code, Code::Conflict);
        NodeFile::of(dir.path(), &at, &host(), true).unwrap().write().unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), text);
    }

    #[test]
    fn a_host_inside_a_host_names_the_one_that_carries_it() {
        let at = NodePath::parse("father/n3-deep/root-pve/leaf-pve").unwrap();
        assert!(text(&at, &host(), false).contains("parent_node: \"root-pve\"\n"));
        let at = NodePath::parse("father/n3-deep/root-pve").unwrap();
        assert!(text(&at, &host(), true).contains("host: \"root-pve\"\nparent_node: \"father\"\n"));
    }
}
