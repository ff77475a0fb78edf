//! What the provider `pve` is told: the section `pve` of `agent.yaml`.
//!
//! Every key has a default that holds on the PVE host that the agent runs on, except the token, which somebody has to make.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use homestak_node::tls::Fingerprint;
use homestak_protocol::privilege;
use homestak_protocol::secret::Secret;
use rustix::system::uname;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, SETTINGS};

/// Where PVE answers on the host itself.
const ENDPOINT: &str = "https://localhost:8006";
/// The CA of a PVE cluster, whose certificates also name `localhost`.
const CLUSTER_CA: &str = "/etc/pve/pve-root-ca.pem";
/// Where the token lies that a host has made for itself.
const TOKEN_FILE: &str = "/etc/homestak/pve.token";
/// The folder for snippets of the storage that every PVE host has.
const SNIPPETS: &str = "/var/lib/vz/snippets";
/// How many machines are made at once on one storage where nothing else is said: a disk that several images are written
/// to at once gets slower for all.
const PARALLEL: u16 = 8;
/// Where Proxmox has the packages of PVE.
const REPOSITORY: &str = "http://download.proxmox.com/debian/pve";
/// What `repository_key` is where packages need no signature.
const TRUSTED: &str = "trusted";

/// The section as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PveSection {
    /// `https://host[:port]` of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_endpoint: Option<String>,
    /// The API token, `USER@REALM!NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token: Option<Secret>,
    /// A file that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_token_file: Option<PathBuf>,
    /// The SHA-256 fingerprint of the API's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// A file with the CA of the API's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Do not look at the API's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// The PVE node; this host's name, where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The storage for disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// The storage that snippets are named by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippets_storage: Option<String>,
    /// The folder of its snippets on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippets_dir: Option<PathBuf>,
    /// The bridge of machines that are ordered on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// How many machines are made at once on one storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u16>,
    /// Whether a node of a tree makes itself a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<bool>,
    /// Where PVE's packages come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Whose signature is on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_key: Option<String>,
}

/// Its keys, for whoever mistypes one.
pub(super) const KEYS: [(&str, &str); 15] = [
    ("api_endpoint", "https://HOST:PORT of the API"),
    ("api_token", "an API token, as USER@REALM!NAME=VALUE"),
    ("api_token_file", "a file that holds the API token"),
    ("fingerprint", "the SHA-256 fingerprint of the API's certificate, as `pvenode cert info` shows it"),
    ("ca", "a file with the CA of the API's certificate"),
    ("insecure", "true, to trust whoever answers"),
    ("node", "the name of the PVE node"),
    ("storage", "the storage for disks"),
    ("snippets_storage", "the storage that snippets are named by"),
    ("snippets_dir", "the folder of its snippets on this host"),
    ("bridge", "a bridge, as in vmbr0"),
    ("parallel", "how many machines are made at once on one storage, at least 1"),
    ("setup", "false, where somebody else makes this machine a host"),
    ("repository", "the address of a repository with PVE's packages, as in http://mirror.example/debian/pve"),
    ("repository_key", "the absolute path of a file with the key of `repository`, or `trusted`"),
];

/// What the provider is told, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PveSettings {
    /// Where the API answers.
    pub endpoint: Endpoint,
    /// Its token.
    pub token: TokenSource,
    /// How its certificate is known.
    pub trust: TrustSource,
    /// The PVE node, where it is told.
    pub node: Option<String>,
    /// The storage for disks; the first that takes some, where none is given.
    pub storage: Option<String>,
    /// The storage that snippets are named by.
    pub snippets_storage: String,
    /// The folder of its snippets.
    pub snippets_dir: PathBuf,
    /// The bridge of machines that are ordered on none.
    pub bridge: String,
    /// How many machines are made at once on one storage.
    pub parallel: usize,
    /// Whether a node of a tree makes itself a host.
    pub setup: bool,
    /// Where PVE's packages come from.
    pub repository: RepositorySettings,
}

/// A repository of PVE's packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySettings {
    /// Its address, without suite and component.
    pub url: String,
    /// How its signature is known.
    pub key: RepositoryKey,
}

/// How the signature of a repository is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryKey {
    /// By the key that Proxmox publishes.
    Published,
    /// By the key in this file.
    File(PathBuf),
    /// Not at all: whatever lies there is trusted.
    Trusted,
}

/// A server, by name or address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Where the token comes from. A file is read when the token is first needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// From the settings.
    Given(Secret),
    /// From this file.
    File(PathBuf),
}

/// How the API's certificate is known. A file is read when it is first needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustSource {
    /// By a CA in this file.
    Ca(PathBuf),
    /// By its fingerprint.
    Fingerprint(Fingerprint),
    /// Not at all.
    Insecure,
}

impl FromStr for Endpoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no https://HOST:PORT");
        let rest = text.trim().strip_prefix("https://").ok_or_else(bad)?;
        let rest = rest.trim_end_matches('/').trim_end_matches("/api2/json");
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(8006), str::parse).map_err(|_| bad())?;
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Endpoint {
    /// Whether it means another machine elsewhere than here.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') {
            write!(f, "https://[{host}]:{}", self.port)
        } else {
            write!(f, "https://{host}:{}", self.port)
        }
    }
}

impl PveSettings {
    /// Reads the section alone.
    pub fn read(text: &str) -> Result<Self, Failure> {
        let section = crate::files::from_yaml(text).map_err(|error| {
            Failure::new(Exit::Configuration, SETTINGS, format!("pve: {}", error.message), "see docs/proxmox.md")
        })?;
        Self::settle(section)
    }

    /// Settles every setting.
    pub(super) fn settle(section: PveSection) -> Result<Self, Failure> {
        let refuse = |key: &str, why: String| {
            Failure::new(Exit::Configuration, SETTINGS, format!("pve: {key}: {why}"), super::file::wanted(key))
        };
        let endpoint = section.api_endpoint.as_deref().unwrap_or(ENDPOINT);
        let print =
            section.fingerprint.map(|text| text.parse().map_err(|why| refuse("fingerprint", why))).transpose()?;
        let trust = match (print, section.ca, section.insecure.unwrap_or(false)) {
            (Some(print), None, false) => TrustSource::Fingerprint(print),
            (None, Some(file), false) => TrustSource::Ca(file),
            (None, None, true) => TrustSource::Insecure,
            (None, None, false) => TrustSource::Ca(CLUSTER_CA.into()),
            _ => return Err(refuse("ca", "`fingerprint`, `ca` and `insecure` exclude one another".into())),
        };
        let token = match (section.api_token, section.api_token_file) {
            (Some(token), None) => TokenSource::Given(token),
            (None, file) => TokenSource::File(file.unwrap_or_else(|| TOKEN_FILE.into())),
            (Some(_), Some(_)) => {
                return Err(refuse("api_token", "`api_token` and `api_token_file` exclude one another".into()));
            }
        };
        let repository = RepositorySettings {
            url: section.repository.clone().unwrap_or_else(|| REPOSITORY.into()),
            key: match section.repository_key.as_deref() {
                None => RepositoryKey::Published,
                Some(TRUSTED) => RepositoryKey::Trusted,
                Some(file) if file.starts_with('/') => RepositoryKey::File(file.into()),
                Some(other) => return Err(refuse("repository_key", format!("`{other}` is neither"))),
            },
        };
        let is_address = repository.url.starts_with("http://") || repository.url.starts_with("https://");
        if !is_address || repository.url.contains(char::is_whitespace) {
            return Err(refuse("repository", format!("`{}` is no address", repository.url)));
        }
        let parallel = section.parallel.unwrap_or(PARALLEL);
        if parallel == 0 {
            return Err(refuse("parallel", "nothing would ever be made".into()));
        }
        Ok(Self {
            endpoint: endpoint.parse().map_err(|why| refuse("api_endpoint", why))?,
            token,
            trust,
            node: section.node.map(|name| short(&name)),
            storage: section.storage,
            snippets_storage: section.snippets_storage.unwrap_or_else(|| privilege::SNIPPETS.into()),
            snippets_dir: section.snippets_dir.unwrap_or_else(|| SNIPPETS.into()),
            bridge: section.bridge.unwrap_or_else(|| "vmbr0".into()),
            parallel: parallel.into(),
            setup: section.setup.unwrap_or(true),
            repository,
        })
    }

    /// The PVE node: as told, or as this host is called now. A machine is given its name when it becomes a host.
    pub fn node(&self) -> String {
        self.node.clone().unwrap_or_else(|| short(&uname().nodename().to_string_lossy()))
    }
}

/// PVE calls a node by the first part of its name.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_what_holds_on_the_host_itself() {
        let settings =
            PveSettings::settle(PveSection { node: Some("father".into()), ..PveSection::default() }).unwrap();
        assert_eq!(settings.endpoint.to_string(), "https://localhost:8006");
        assert_eq!(settings.trust, TrustSource::Ca(CLUSTER_CA.into()));
        assert_eq!(settings.token, TokenSource::File(TOKEN_FILE.into()));
        assert_eq!((settings.setup, settings.node()), (true, "father".into()));
        assert_eq!(settings.repository, RepositorySettings { url: REPOSITORY.into(), key: RepositoryKey::Published });
    }

    #[test]
    fn a_repository_is_an_address_and_its_key_a_file_or_a_word() {
        let read = |text: &str| PveSettings::read(text).map(|settings| settings.repository);
        let mirror = read("repository: http://mirror.example/pve\nrepository_key: trusted\n").unwrap();
        assert_eq!(mirror, RepositorySettings { url: "http://mirror.example/pve".into(), key: RepositoryKey::Trusted });
        let key = read("repository_key: /etc/homestak/mirror.gpg\n").unwrap().key;
        assert_eq!(key, RepositoryKey::File("/etc/homestak/mirror.gpg".into()));
        for wrong in ["repository: mirror.example\n", "repository: http://a b\n", "repository_key: none\n"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_read_as_people_write_it() {
        let read = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(read("https://192.0.2.1"), Ok("https://192.0.2.1:8006".into()));
        assert_eq!(read("https://[2001:db8::1]:8443/"), Ok("https://[2001:db8::1]:8443".into()));
        assert_eq!(read("https://pve.example/api2/json"), Ok("https://pve.example:8006".into()));
        assert!(read("http://192.0.2.1:8006").is_err() && read("https://:8006").is_err());
    }

    #[test]
    fn what_excludes_one_another_is_refused() {
        let both = PveSection { ca: Some("a".into()), insecure: Some(true), ..PveSection::default() };
        assert!(PveSettings::settle(both).is_err());
    }
}
