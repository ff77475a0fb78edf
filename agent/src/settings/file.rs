//! `agent.yaml`: the settings as a file gives them, and as a provider writes them for a new machine.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use homestak_node::trust::pin::CaPin;
use homestak_protocol::name::HostName;
use homestak_protocol::secret::Secret;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pve::{self, PveSection};
use super::{Pin, ProviderKind, Servers};
use crate::failure::{Exit, Failure, Place, SETTINGS};
use crate::files::{from_yaml, to_yaml};

/// Every key of `agent.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// Its own name: a host's, or a node's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "parsed")]
    pub name: Option<HostName>,
    /// Its parent, `https://host:port[,...]`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "parsed")]
    pub server: Option<Servers>,
    /// Its provisioning token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The pin of its parent's CA, `sha256:<hex>`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "shown", deserialize_with = "pin")]
    pub ca: Option<CaPin>,
    /// The address that it listens on and dials from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<IpAddr>,
    /// The port that it listens on; 0 for a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// What it makes machines with; none where it makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderKind>,
    /// What the provider `pve` is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pve: Option<PveSection>,
    /// What only concerns machines of the provider `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSection>,
}

/// What an agent inside a machine of `local` is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSection {
    /// The machine's folder; the agent ends with it.
    pub machine: PathBuf,
}

/// Parses a text where it stands, so that an error knows its place; the library loses it for types made from a `String`.
fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<T>, E> {
            text.parse().map(Some).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(PhantomData))
}

fn pin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CaPin>, D::Error> {
    parsed::<D, Pin>(deserializer).map(|pin| pin.map(|pin| pin.0))
}

fn shown<S: Serializer>(pin: &Option<CaPin>, serializer: S) -> Result<S::Ok, S::Error> {
    match pin {
        Some(pin) => serializer.collect_str(pin),
        None => serializer.serialize_none(),
    }
}

/// Every key that means something somewhere, and what it wants.
const KEYS: [(&str, &str); 11] = [
    ("name", "a letter or digit, then letters, digits, `.` and `-`"),
    ("server", "one or more addresses, as in https://192.0.2.1:44443,https://[2001:db8::1]:44443"),
    ("token", "a provisioning token, as the parent gave it out"),
    ("ca", "`sha256:` and 64 hex digits"),
    ("bind", "an IPv4 or IPv6 address, without a port"),
    ("port", "a number from 0 to 65535; 0 picks a free one and keeps it"),
    ("state_dir", "a folder"),
    ("provider", "local or pve"),
    ("pve", "a section with what the provider `pve` needs"),
    ("local", "a section with the key `machine`"),
    ("machine", "a folder"),
];

/// What a setting wants.
pub(super) fn wanted(key: &str) -> String {
    let known = KEYS.iter().chain(&pve::KEYS).find(|(known, _)| *known == key);
    known.map_or_else(|| "see `homestak-agent run --help`".to_owned(), |(_, wants)| format!("it wants {wants}"))
}

impl AgentFile {
    /// Parses the text of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Failure> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        from_yaml(text).map_err(|error| {
            let (message, hint) = explain(&error.message);
            let failure = Failure::new(Exit::Configuration, SETTINGS, message, hint);
            failure.at(Place::of_key(file, text, error.place.unwrap_or((1, 1))))
        })
    }

    /// The text of a file with these settings.
    pub fn to_text(&self) -> Result<String, String> {
        to_yaml(self)
    }
}

/// The library's words, in the reader's.
fn explain(message: &str) -> (String, String) {
    let named = |intro| message.split(intro).nth(1).and_then(|rest: &str| rest.split('`').next());
    if let Some(key) = named("unknown field `") {
        return (
            format!("unknown key `{key}`"),
            did_you_mean(key, KEYS.iter().chain(&pve::KEYS).map(|(known, _)| *known)),
        );
    }
    if let Some(word) = named("unknown variant `") {
        return (format!("`{word}` is no provider"), did_you_mean(word, ProviderKind::NAMES.iter().copied()));
    }
    match message.split_once(": ") {
        // The library repeats what it found, and that is nobody's business.
        Some(("token", _)) => ("token: a text is expected".to_owned(), wanted("token")),
        Some(("pve.api_token", _)) => ("pve: api_token: a text is expected".to_owned(), wanted("api_token")),
        Some((key, _)) => (message.to_owned(), wanted(key.rsplit('.').next().unwrap_or(key))),
        None => (message.to_owned(), wanted("")),
    }
}

/// The nearest of the words that would have been understood, or all of them.
pub(super) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let nearest = known
        .clone()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, candidate)) if distance <= 1 + word.len() / 4 => format!("did you mean `{candidate}`?"),
        _ => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
    }
}
