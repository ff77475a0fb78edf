//! A resolved spec as an agent applies it: schema v1, parsed so that nothing in it can break out of the file or path that
//! it ends up in.
//!
//! Keys that this version does not know are passed over: the document may come from a newer coordinator.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use homestak_protocol::name::NodeName;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// The version that is understood.
const SCHEMA_VERSION: u64 = 1;

/// What a node is to become.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeSpec {
    schema_version: u64,
    /// Who it is.
    #[serde(default)]
    pub identity: Identity,
    /// Its fixed address; none where it is given one by others.
    pub network: Option<Network>,
    /// Who may use it, and how.
    #[serde(default)]
    pub access: Access,
    /// What runs on it.
    #[serde(default)]
    pub platform: Platform,
    /// Everything else.
    #[serde(default)]
    pub config: Config,
    /// When it is looked at again.
    pub run: Option<Run>,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Identity {
    /// Its host name; its node's name where none.
    pub hostname: Option<NodeName>,
    /// Its domain.
    pub domain: Option<DomainName>,
}

/// A fixed address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenNetwork")]
pub struct Network {
    /// The address.
    pub ip: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The way to everybody else; in that network.
    pub gateway: Ipv4Addr,
    /// Who is asked for names; whoever was asked before, where there are none.
    pub dns: Vec<IpAddr>,
}

impl Network {
    /// The address with the length of its prefix.
    pub fn address(&self) -> String {
        format!("{}/{}", self.ip, self.prefix)
    }
}

/// How many bits are the network's where nobody says.
const USUAL_PREFIX: u8 = 24;

/// The same as it is written.
#[derive(Deserialize)]
struct WrittenNetwork {
    ip: String,
    gateway: Ipv4Addr,
    #[serde(default)]
    dns: Vec<IpAddr>,
}

impl TryFrom<WrittenNetwork> for Network {
    type Error = String;

    fn try_from(written: WrittenNetwork) -> Result<Self, String> {
        let WrittenNetwork { ip: text, gateway, dns } = written;
        let (ip, prefix) =
            text.split_once('/').map_or((text.as_str(), Ok(USUAL_PREFIX)), |(ip, prefix)| (ip, prefix.parse()));
        let ip: Ipv4Addr = ip.parse().map_err(|_| format!("{text:?} is no IPv4 address"))?;
        let mask = prefix
            .ok()
            .filter(|prefix| *prefix <= 32)
            .map(|prefix| (prefix, u32::MAX.checked_shl(32 - u32::from(prefix))));
        let (prefix, mask) = mask.ok_or_else(|| format!("{text:?}: the prefix has 0 to 32 bits"))?;
        if (ip.to_bits() ^ gateway.to_bits()) & mask.unwrap_or_default() != 0 {
            return Err(format!("the gateway {gateway} is not in the network of {ip}/{prefix}"));
        }
        Ok(Self { ip, prefix, gateway, dns })
    }
}

/// Who may use a node, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Access {
    /// Its users.
    #[serde(default)]
    pub users: Vec<User>,
    /// The resolved posture.
    #[serde(default)]
    pub security: Security,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Its name.
    pub name: UserName,
    /// Whether it may become root.
    #[serde(default)]
    pub sudo: bool,
    /// Its public keys, resolved.
    #[serde(default)]
    pub ssh_keys: Vec<KeyLine>,
}

/// A resolved posture. The defaults are those of a node without one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Security {
    /// The SSH server.
    #[serde(default)]
    pub ssh: Ssh,
    /// Becoming root.
    #[serde(default)]
    pub sudo: Sudo,
    /// Locking out who guesses.
    #[serde(default)]
    pub fail2ban: Fail2ban,
    /// Packages that go with it.
    #[serde(default)]
    pub packages: Vec<PackageName>,
}

/// How the SSH server behaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ssh {
    /// Its port.
    pub port: std::num::NonZeroU16,
    /// Whether root may log in.
    pub permit_root_login: RootLogin,
    /// Whether a password is enough.
    pub password_authentication: Switch,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            port: std::num::NonZeroU16::MIN.saturating_add(21),
            permit_root_login: RootLogin("prohibit-password".into()),
            password_authentication: Switch(false),
        }
    }
}

/// How users become root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Sudo {
    /// Without their password.
    pub nopasswd: bool,
}

/// Whether who guesses is locked out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Fail2ban {
    /// It is.
    pub enabled: bool,
}

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// What is installed.
    pub packages: Vec<PackageName>,
    /// What is started.
    pub services: Services,
}

/// What is started at boot, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Services {
    /// Units that are.
    pub enable: Vec<UnitName>,
    /// Units that are not.
    pub disable: Vec<UnitName>,
}

/// What else is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Name of the time zone (tz database).
    pub timezone: Option<TimeZone>,
    /// What only concerns a Proxmox VE host.
    pub pve: Pve,
}

/// What only concerns a Proxmox VE host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Pve {
    /// Nobody is told at log-in that there is no subscription.
    pub remove_subscription_nag: bool,
}

/// How often a schedule without an interval has its turn.
const HOURLY: Duration = Duration::from_secs(60 * 60);

/// When a node is looked at again. Triggers of other kinds are none of this agent's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Run {
    trigger: Option<String>,
    interval: Option<Interval>,
}

impl Run {
    /// How often; none where it is not to be looked at.
    pub fn rhythm(&self) -> Option<Duration> {
        let scheduled = self.trigger.as_deref() == Some("schedule");
        scheduled.then(|| self.interval.map_or(HOURLY, |interval| interval.0))
    }
}

/// A length of time, as in `30m` or `1h 30m`; a second at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval(Duration);

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.parse::<jiff::SignedDuration>().ok().and_then(|length| Duration::try_from(length).ok());
        let length = length.filter(|length| *length >= Duration::from_secs(1));
        length.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is no length of time like 30m or 1h")))
    }
}

impl NodeSpec {
    /// Parses the document.
    pub fn parse(document: &str) -> Result<Self, String> {
        serde_json::from_str::<Self>(document).map_err(|error| error.to_string())?.of_known_version()
    }

    /// The same, unless it is of a version that is not understood.
    pub fn of_known_version(self) -> Result<Self, String> {
        match self.schema_version {
            SCHEMA_VERSION => Ok(self),
            other => Err(format!("it has schema version {other}, this agent knows {SCHEMA_VERSION}")),
        }
    }

    /// Every package: the spec's first, then those of its posture, each once.
    pub fn packages(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let fail2ban = self.access.security.fail2ban.enabled.then_some("fail2ban");
        let named = self.platform.packages.iter().chain(&self.access.security.packages).map(PackageName::as_str);
        for package in named.chain(fail2ban) {
            if !all.contains(&package) {
                all.push(package);
            }
        }
        all
    }
}

macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Box<str>);

        impl $name {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text.into()))
                } else {
                    Err(D::Error::custom(format!("{text:?}: {}", $rule)))
                }
            }
        }
    };
}

fn is_made_of(text: &str, first: fn(char) -> bool, rest: fn(char) -> bool) -> bool {
    let mut chars = text.chars();
    text.len() <= 255 && chars.next().is_some_and(first) && chars.all(rest)
}

checked!(
    /// A user's name, as useradd(8) takes it.
    UserName,
    "a user's name is a lower-case letter or `_`, then lower-case letters, digits, `_` and `-`, 32 at most",
    |text| {
        text.len() <= 32
            && is_made_of(
                text,
                |c| c.is_ascii_lowercase() || c == '_',
                |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'),
            )
    }
);

checked!(
    /// A DNS domain.
    DomainName,
    "a domain is labels of letters, digits and `-`, with `.` between them",
    |text| text.split('.').all(|label| !label.is_empty() && label.len() <= 63 && !label.starts_with('-'))
        && is_made_of(
            text,
            |c| c.is_ascii_alphanumeric(),
            |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
        )
);

checked!(
    /// A line of `authorized_keys` (sshd(8)).
    KeyLine,
    "a public key is one line",
    |text| !text.trim().is_empty() && !text.contains(char::is_control)
);

checked!(
    /// A package's name, as Debian has them, with a version or architecture perhaps.
    PackageName,
    "a package's name is made of lower-case letters, digits, `+`, `-`, `.`, `:` and `=`",
    |text| is_made_of(
        text,
        |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
        |c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | ':' | '=' | '~')
    )
);

checked!(
    /// A systemd unit's name.
    UnitName,
    "a service's name is made of letters, digits, `@`, `:`, `-`, `_` and `.`",
    |text| is_made_of(
        text,
        |c| c.is_ascii_alphanumeric(),
        |c| c.is_ascii_alphanumeric() || matches!(c, '@' | ':' | '-' | '_' | '.')
    )
);

checked!(
    /// A name of the tz database.
    TimeZone,
    "a time zone is a name like `Europe/Berlin`",
    |text| !text.contains("..")
        && is_made_of(
            text,
            |c| c.is_ascii_alphabetic(),
            |c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-')
        )
);

/// `yes` or `no` of sshd_config(5), as text or as YAML's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

/// `PermitRootLogin` of sshd_config(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootLogin(Box<str>);

impl RootLogin {
    /// As sshd takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Switch {
    /// As sshd takes it.
    pub const fn as_str(self) -> &'static str {
        if self.0 { "yes" } else { "no" }
    }
}

/// One of a few words, or a truth that stands for `yes` or `no`.
struct Word(&'static [&'static str]);

impl Visitor<'_> for Word {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", self.0.join(", "))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<&'static str, E> {
        Ok(Switch(value).as_str())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<&'static str, E> {
        let found = self.0.iter().find(|known| **known == text);
        found.copied().ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Word(&["yes", "no"])).map(|word| Self(word == "yes"))
    }
}

impl<'de> Deserialize<'de> for RootLogin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = &["yes", "no", "prohibit-password", "without-password", "forced-commands-only"];
        deserializer.deserialize_any(Word(known)).map(|word| Self(word.into()))
    }
}
