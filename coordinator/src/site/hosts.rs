//! Hosts as commands name them: `nodes/NAME.yaml` before `hosts/NAME.yaml`, on top of `site.yaml`, with the API token that
//! the secrets have for it.

use std::collections::BTreeSet;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::HostName;
use homestak_protocol::secret::Secret;
use serde::{Serialize, Serializer};

use super::Site;
use super::model::{Host, Node};

/// Where a node's machines' disks lie if neither it nor the site says.
const DEFAULT_DATASTORE: &str = "local-zfs";
const DEFAULT_BRIDGE: &str = "vmbr0";
const DEFAULT_RELEASE: &str = "latest";
const IMAGE_REPO: &str = "homestak-dev/packer";
const DEFAULT_IMAGE: &str = "debian-12-custom.qcow2";
const DEFAULT_SSH_KEY: &str = "~/.ssh/id_rsa";

/// A host with everything merged, in the order in which it is printed. What it has not is empty text, as it always was.
#[derive(Debug, Clone, Serialize)]
pub struct HostConfig {
    /// By what it is asked for.
    pub name: String,
    /// The file that it comes from, below the site's folder.
    pub config_file: String,
    /// Whether it is a physical machine that is no PVE node yet: then there is no API.
    pub is_host_only: bool,
    /// As PVE calls it.
    pub node: String,
    /// The physical machine that it is.
    pub host: String,
    /// The PVE node that carries it.
    pub parent_node: String,
    /// Its API.
    pub api_endpoint: String,
    /// The API's token.
    pub api_token: ApiToken,
    /// Where its machines' disks lie.
    pub datastore: String,
    /// Its own address.
    pub ip: String,
    /// Where it is reached by SSH.
    pub ssh_host: String,
    /// As whom.
    pub ssh_user: String,
    /// At which port.
    pub ssh_port: u16,
    /// With which key.
    pub ssh_key: String,
    /// The user of its machines.
    pub automation_user: String,
    /// The bridge of its machines.
    pub bridge: String,
    /// Their gateway.
    pub gateway: String,
    /// Its domain.
    pub domain: String,
    /// Where images are released.
    pub packer_release_repo: String,
    /// Which of them are meant.
    pub packer_release: String,
    /// The image where none is named.
    pub packer_image: String,
}

/// How one asks for a host: `[USER@]NAME`.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name.
    pub name: &'a str,
    /// Who logs in, in place of whom the site names.
    pub user: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Takes `USER@NAME` apart.
    pub fn parse(text: &'a str) -> Self {
        match text.split_once('@') {
            Some((user, name)) if !user.is_empty() => Self { name, user: Some(user) },
            _ => Self { name: text, user: None },
        }
    }
}

/// An API token, printed as `[secret]` unless somebody asked to see it. A host without one has empty text.
#[derive(Debug, Clone, Default)]
pub struct ApiToken {
    token: Option<Secret>,
    clear: bool,
}

impl ApiToken {
    /// The same, to be printed as it is.
    #[must_use]
    pub fn in_clear(self) -> Self {
        Self { clear: true, ..self }
    }

    /// The token, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        self.token.as_ref()
    }
}

impl Serialize for ApiToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match &self.token {
            None => "",
            Some(token) if self.clear => token.expose(),
            Some(_) => "[secret]",
        })
    }
}

impl Site {
    /// Every host that can be named, sorted; `local` is always there and not listed.
    pub fn hosts(&self) -> Vec<HostName> {
        let content = &self.content;
        content.nodes.keys().chain(content.hosts.keys()).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether a host can be named.
    pub fn has_host(&self, host: &HostName) -> bool {
        host.is_local() || self.content.nodes.contains_key(host) || self.content.hosts.contains_key(host)
    }

    /// A host with everything merged. `login` is who asks, for hosts of which nobody says who logs in.
    pub fn host(&self, asked: Asked<'_>, login: &str) -> Result<HostConfig, Fault> {
        let found = HostName::parse(asked.name).ok().and_then(|name| {
            let node = self.content.nodes.get(&name).map(|node| self.of_node(&name, node));
            node.or_else(|| self.content.hosts.get(&name).map(|host| self.of_host(&name, host)))
        });
        let mut host = found.ok_or_else(|| self.no_host(asked.name))?;
        if let Some(user) = asked.user {
            host.ssh_user = user.to_owned();
        } else if host.ssh_user.is_empty() {
            host.ssh_user = login.to_owned();
        }
        Ok(host)
    }

    /// The refusal of a host that is not there: where it would be, what there is, and the way out.
    pub fn no_host(&self, name: &str) -> Fault {
        let hosts = self.hosts();
        let available = match hosts.as_slice() {
            [] => "none".to_owned(),
            some => some.iter().map(HostName::as_str).collect::<Vec<_>>().join(", "),
        };
        let message = format!(
            "host {name:?} is not in the site: neither nodes/{name}.yaml nor hosts/{name}.yaml is in {}. Available: {available}",
            self.label()
        );
        let near = homestak_manifests::diagnostic::Report::new(homestak_manifests::diagnostic::Source::new("", ""))
            .nearest(name, hosts.iter().map(HostName::as_str))
            .map(|near| format!("did you mean {near}? Otherwise "));
        let way = format!(
            "run `make host-config` on {name} in its copy of the site, or write hosts/{name}.yaml with `host: {name}` and its `ip`"
        );
        Fault::new(Code::NotFound, message).hint(near.unwrap_or_default() + &way)
    }

    fn of_node(&self, name: &HostName, node: &Node) -> HostConfig {
        let defaults = self.defaults();
        let token = self.content.opened.secrets().ok().and_then(|secrets| secrets.api_token(&node.api_token));
        let endpoint = node.api_endpoint.as_ref();
        let datastore = node.datastore.as_ref().or(defaults.datastore.as_ref());
        HostConfig {
            config_file: format!("nodes/{name}.yaml"),
            is_host_only: false,
            node: node.node.to_string(),
            host: text(node.host.as_ref()),
            parent_node: text(node.parent_node.as_ref()),
            api_endpoint: endpoint.map(|endpoint| endpoint.as_str().to_owned()).unwrap_or_default(),
            api_token: ApiToken { token: token.cloned(), clear: false },
            datastore: datastore.map_or(DEFAULT_DATASTORE.to_owned(), ToString::to_string),
            ip: text(node.ip.as_ref()),
            ssh_host: endpoint.map(|endpoint| endpoint.host().to_owned()).unwrap_or_default(),
            ssh_user: text(node.user.as_ref().or(defaults.host_user.as_ref())),
            ..self.any_host(name)
        }
    }

    fn of_host(&self, name: &HostName, host: &Host) -> HostConfig {
        let usual = self.any_host(name);
        HostConfig {
            config_file: format!("hosts/{name}.yaml"),
            is_host_only: true,
            host: name.to_string(),
            ip: text(host.address.as_ref()),
            ssh_host: text(host.address.as_ref()),
            ssh_user: text(host.user.as_ref().or(self.defaults().host_user.as_ref())),
            ssh_port: host.port.map_or(usual.ssh_port, std::num::NonZeroU16::get),
            domain: host.domain.as_ref().map_or(usual.domain.clone(), ToString::to_string),
            ..usual
        }
    }

    /// What holds for every host.
    fn any_host(&self, name: &HostName) -> HostConfig {
        let defaults = self.defaults();
        HostConfig {
            name: name.to_string(),
            config_file: String::new(),
            is_host_only: false,
            node: String::new(),
            host: String::new(),
            parent_node: String::new(),
            api_endpoint: String::new(),
            api_token: ApiToken::default(),
            datastore: defaults.datastore.as_ref().map_or(DEFAULT_DATASTORE.to_owned(), ToString::to_string),
            ip: String::new(),
            ssh_host: String::new(),
            ssh_user: String::new(),
            ssh_port: 22,
            ssh_key: DEFAULT_SSH_KEY.into(),
            automation_user: self.vm_user().to_owned(),
            bridge: defaults.bridge.as_ref().map_or(DEFAULT_BRIDGE.to_owned(), ToString::to_string),
            gateway: text(defaults.gateway.as_ref()),
            domain: text(defaults.domain.as_ref()),
            packer_release_repo: IMAGE_REPO.into(),
            packer_release: defaults.image_release.as_ref().map_or(DEFAULT_RELEASE.to_owned(), ToString::to_string),
            packer_image: DEFAULT_IMAGE.into(),
        }
    }
}

fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
