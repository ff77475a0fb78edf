//! What an agent is told before it begins: flags beat environment, environment beats the file, the file beats defaults.
//!
//! Everything is parsed here, once; what leaves this module needs no further check.

mod file;
mod pve;

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use homestak_node::trust::pin::{CaPin, PinError};
use homestak_protocol::name::HostName;
use homestak_protocol::secret::Secret;
use serde::{Deserialize, Serialize};

pub use self::file::{AgentFile, LocalSection};
pub use self::pve::{Endpoint, PveSection, PveSettings, RepositoryKey, RepositorySettings, TokenSource, TrustSource};
use crate::failure::{Exit, Failure, SETTINGS};

/// Where settings are looked for where no file is named.
pub const DEFAULT_FILE: &str = "/etc/homestak/agent.yaml";
/// The port of a parent that names none, and the one that an agent with children listens on (UDP for QUIC).
pub const DEFAULT_PORT: u16 = 44_443;
/// The state folder of root.
const SYSTEM_STATE: &str = "/var/lib/homestak";

/// Settings as flags; each can also be given by environment or file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Settings file [env: HOMESTAK_AGENT_CONFIG] [default: /etc/homestak/agent.yaml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// State folder [env: HOMESTAK_STATE_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Parent, as https://HOST:PORT[,...] [env: HOMESTAK_SERVER]
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// Provisioning token; others can see flags, so prefer the environment or the file [env: HOMESTAK_TOKEN]
    #[arg(long, value_name = "TOKEN", global = true)]
    pub token: Option<String>,
    /// Pin of the parent's CA, as sha256:HEX [env: HOMESTAK_CA]
    #[arg(long, value_name = "PIN", global = true)]
    pub ca: Option<String>,
    /// Name of this host [env: HOMESTAK_NAME]
    #[arg(long, value_name = "NAME", global = true)]
    pub name: Option<String>,
    /// Address to listen on and to dial from [env: HOMESTAK_BIND]
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub bind: Option<String>,
    /// Port to listen on; 0 picks a free one and keeps it [env: HOMESTAK_PORT]
    #[arg(long, value_name = "PORT", global = true)]
    pub port: Option<String>,
    /// What makes machines here: local or pve [env: HOMESTAK_PROVIDER]
    #[arg(long, value_name = "PROVIDER", global = true)]
    pub provider: Option<String>,
}

/// What makes machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Machines are processes on this machine.
    Local,
    /// Machines are guests of the Proxmox VE host that this machine is.
    Pve,
}

impl ProviderKind {
    /// How they are spelt.
    pub const NAMES: &[&str] = &["local", "pve"];

    /// How this one is.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProviderKind::Local => "local",
            ProviderKind::Pve => "pve",
        }
    }
}

impl FromStr for ProviderKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(ProviderKind::Local),
            "pve" => Ok(ProviderKind::Pve),
            _ => Err(format!("`{text}` is no provider")),
        }
    }
}

/// A parent's addresses and names, `host:port` each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(into = "String")]
pub struct Servers(Vec<String>);

impl Servers {
    /// Takes what a parent gives out: `host:port` each.
    pub fn new(servers: Vec<String>) -> Self {
        Self(servers)
    }

    /// One by one.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Servers {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let servers = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(server);
        Ok(Self(servers.collect::<Result<_, _>>()?))
    }
}

/// A pin, as texts give it.
struct Pin(CaPin);

impl FromStr for Pin {
    type Err = PinError;
    fn from_str(text: &str) -> Result<Self, PinError> {
        CaPin::parse(text).map(Self)
    }
}

/// `https://host:port` or less as `host:port`.
fn server(part: &str) -> Result<String, String> {
    let rest = part.strip_prefix("https://").unwrap_or(part).trim_end_matches('/');
    let bad = || format!("`{part}` names no server");
    if rest.is_empty() || rest.contains(['/', '@', ' ']) {
        return Err(bad());
    }
    if let Ok(address) = rest.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]:{DEFAULT_PORT}"));
    }
    // A colon inside the brackets of an IPv6 address begins no port.
    let after_host = rest.rfind(']').and_then(|end| rest.get(end..)).unwrap_or(rest);
    match after_host.rsplit_once(':') {
        None => Ok(format!("{rest}:{DEFAULT_PORT}")),
        Some((_, port)) => match port.parse::<u16>() {
            Ok(1..) => Ok(rest.to_owned()),
            _ => Err(bad()),
        },
    }
}

impl From<Servers> for String {
    fn from(servers: Servers) -> String {
        let urls: Vec<String> = servers.0.iter().map(|server| format!("https://{server}")).collect();
        urls.join(",")
    }
}

/// What an agent is told, parsed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its own name, where it was told.
    pub name: Option<HostName>,
    /// Its parent's addresses and names, `host:port`; empty where it was told none.
    pub servers: Servers,
    /// Its provisioning token.
    pub token: Option<Secret>,
    /// The pin of its parent's CA.
    pub ca: Option<CaPin>,
    /// The address to listen on and to dial from; all where none.
    pub bind: Option<IpAddr>,
    /// The port to listen on; 0 for a free one, which is then kept.
    pub port: u16,
    /// The state folder, absolute.
    pub state_dir: PathBuf,
    /// What it makes machines with; none where it makes none.
    pub provider: Option<ProviderKind>,
    /// What the provider `pve` is told; none where it is not the provider.
    pub pve: Option<PveSettings>,
    /// The folder of the machine of `local` that it runs in; none elsewhere.
    pub machine: Option<PathBuf>,
}

impl Settings {
    /// Settles every setting. `env` gives the environment; a variable that is set to nothing counts as not set.
    pub fn settle(flags: &Flags, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let file = read_file(flags, &env)?;
        let told = Told { env: &env };
        let given = flags.state_dir.clone().or_else(|| env("HOMESTAK_STATE_DIR").map(PathBuf::from)).or(file.state_dir);
        let default_port = if given.is_some() { 0 } else { DEFAULT_PORT };
        let state_dir = given.map_or_else(|| default_state_dir(&env), Ok)?;
        let provider = told.pick(flags.provider.as_deref(), "provider", file.provider)?;
        let pve = match provider {
            Some(ProviderKind::Pve) => Some(PveSettings::settle(file.pve.unwrap_or_default())?),
            _ => None,
        };
        Ok(Self {
            name: told.pick(flags.name.as_deref(), "name", file.name)?,
            servers: told.pick(flags.server.as_deref(), "server", file.server)?.unwrap_or_default(),
            token: told.pick::<String>(flags.token.as_deref(), "token", None)?.map(Secret::new).or(file.token),
            ca: told.pick(flags.ca.as_deref(), "ca", file.ca.map(Pin))?.map(|pin| pin.0),
            bind: told.pick(flags.bind.as_deref(), "bind", file.bind)?,
            port: told.pick(flags.port.as_deref(), "port", file.port)?.unwrap_or(default_port),
            state_dir: std::path::absolute(&state_dir).unwrap_or(state_dir),
            provider,
            pve,
            machine: file.local.map(|local| local.machine),
        })
    }
}

/// What flags and environment say.
struct Told<'a, E> {
    env: &'a E,
}

impl<E: Fn(&str) -> Option<OsString>> Told<'_, E> {
    /// The flag, else the variable, else what the file has.
    fn pick<T: FromStr>(&self, flag: Option<&str>, key: &str, file: Option<T>) -> Result<Option<T>, Failure> {
        let variable = format!("HOMESTAK_{}", key.to_ascii_uppercase());
        let (text, from) = match (flag, (self.env)(&variable)) {
            (Some(text), _) => (text.to_owned(), format!("--{key}")),
            (None, Some(value)) => (value.to_string_lossy().into_owned(), variable),
            (None, None) => return Ok(file),
        };
        let refuse = |_| {
            let message = format!("{from} cannot be `{text}`");
            Failure::new(Exit::Usage, SETTINGS, message, file::wanted(key))
        };
        text.trim().parse().map(Some).map_err(refuse)
    }
}

/// Reads the file that is named, or the usual one where it exists.
fn read_file(flags: &Flags, env: &impl Fn(&str) -> Option<OsString>) -> Result<AgentFile, Failure> {
    let named = flags.config.clone().or_else(|| env("HOMESTAK_AGENT_CONFIG").map(PathBuf::from));
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| DEFAULT_FILE.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let file = AgentFile::parse(&path, &text)?;
            let open = std::fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
            let secret = file.token.is_some() || file.pve.as_ref().is_some_and(|pve| pve.api_token.is_some());
            if open && secret {
                tracing::warn!(file = %path.display(), "others can read the token in this file; chmod 600 it");
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(AgentFile::default()),
        Err(error) => {
            let message = format!("the settings file {} cannot be read", path.display());
            let hint = "--config or HOMESTAK_AGENT_CONFIG names a YAML file";
            Err(Failure::new(Exit::Configuration, SETTINGS, message, hint).because(error))
        }
    }
}

fn default_state_dir(env: &impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(SYSTEM_STATE.into());
    }
    let base = env("XDG_STATE_HOME").map(PathBuf::from);
    base.or_else(|| env("HOME").map(|home| Path::new(&home).join(".local/state")))
        .map(|base| base.join("homestak"))
        .ok_or_else(|| {
            let message = "there is no place to keep state: HOME is not set";
            Failure::new(Exit::Usage, SETTINGS, message, "choose one with --state-dir or HOMESTAK_STATE_DIR")
        })
}

#[cfg(test)]
mod tests;
