//! `postures/NAME.yaml`: how open a machine is.

use std::num::NonZeroU16;

use homestak_manifests::diagnostic::Report;
use homestak_manifests::yaml::Fields;
use serde::Serialize;

use super::take;
use super::text::Package;

const KEYS: &[&str] = &["auth", "ssh", "sudo", "fail2ban", "packages"];
const METHODS: &[(&str, AuthMethod)] =
    &[("network", AuthMethod::Network), ("site_token", AuthMethod::SiteToken), ("node_token", AuthMethod::NodeToken)];
const ROOT_LOGINS: &[(&str, RootLogin)] =
    &[("yes", RootLogin::Yes), ("no", RootLogin::No), ("prohibit-password", RootLogin::ProhibitPassword)];

/// How open a machine is. Machines are told all of it but `auth`, which is between them and the spec endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Posture {
    /// How the endpoint knows them.
    #[serde(skip)]
    pub auth: Auth,
    /// The SSH server.
    pub ssh: Ssh,
    /// Becoming root.
    pub sudo: Sudo,
    /// Locking out who guesses.
    pub fail2ban: Fail2ban,
    /// What is installed for it.
    pub packages: Vec<Package>,
}

/// How the endpoint knows a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Auth {
    /// The earlier system's three ways. All are read; a machine shows its provisioning token whichever is named.
    pub method: AuthMethod,
    /// Whether a provisioning token fetches a spec once only.
    pub one_time: bool,
}

/// Names of ways in which the endpoint knows a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthMethod {
    /// By the network that it is on.
    #[default]
    Network,
    /// By a token that all of the site's machines have.
    SiteToken,
    /// By a token of its own.
    NodeToken,
}

/// The SSH server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ssh {
    /// Its port.
    pub port: NonZeroU16,
    /// Whether root may log in.
    pub permit_root_login: RootLogin,
    /// Whether a password is enough.
    pub password_authentication: Switch,
}

/// `PermitRootLogin` of sshd_config(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RootLogin {
    /// With a password or a key.
    Yes,
    /// Not at all.
    No,
    /// With a key.
    ProhibitPassword,
}

/// `yes` or `no` of sshd_config(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    /// On.
    Yes,
    /// Off.
    No,
}

/// How users become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Sudo {
    /// Without their password.
    pub nopasswd: bool,
}

/// Whether who guesses is locked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Fail2ban {
    /// It is.
    pub enabled: bool,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            port: NonZeroU16::MIN.saturating_add(21),
            permit_root_login: RootLogin::ProhibitPassword,
            password_authentication: Switch::No,
        }
    }
}

impl Posture {
    pub(in crate::site) fn read(fields: &Fields<'_>, report: &mut Report<'_>) -> Self {
        fields.only(KEYS, elsewhere, report);
        let mut posture = Self::default();
        if let Some(auth) = take::section(fields, "auth", report) {
            auth.only(&["method", "one_time"], |_| None, report);
            let method = auth.get("method").and_then(|field| field.choice(METHODS, report));
            posture.auth = Auth {
                method: method.unwrap_or_default(),
                one_time: take::flag(&auth, "one_time", report).unwrap_or_default(),
            };
        }
        if let Some(ssh) = take::section(fields, "ssh", report) {
            posture.ssh = read_ssh(&ssh, report);
        }
        if let Some(sudo) = take::section(fields, "sudo", report) {
            sudo.only(&["nopasswd"], |_| None, report);
            posture.sudo.nopasswd = take::flag(&sudo, "nopasswd", report).unwrap_or_default();
        }
        if let Some(fail2ban) = take::section(fields, "fail2ban", report) {
            fail2ban.only(&["enabled"], |_| None, report);
            posture.fail2ban.enabled = take::flag(&fail2ban, "enabled", report).unwrap_or_default();
        }
        posture.packages = take::names(fields, "packages", Package::parse, report);
        posture
    }
}

fn read_ssh(fields: &Fields<'_>, report: &mut Report<'_>) -> Ssh {
    fields.only(&["port", "permit_root_login", "password_authentication"], |_| None, report);
    let usual = Ssh::default();
    let port = fields.get("port").and_then(|field| field.number(1..=u16::MAX.into(), "", report));
    let port = port.and_then(|port| u16::try_from(port).ok()).and_then(NonZeroU16::new);
    // YAML 1.1 takes a plain `yes` for true; in these places it is a word.
    let root = fields.get("permit_root_login").and_then(|field| field.yes_no_or(ROOT_LOGINS, report));
    let password = fields
        .get("password_authentication")
        .and_then(|field| field.yes_no_or(&[("yes", Switch::Yes), ("no", Switch::No)], report));
    Ssh {
        port: port.unwrap_or(usual.port),
        permit_root_login: root.unwrap_or(usual.permit_root_login),
        password_authentication: password.unwrap_or(usual.password_authentication),
    }
}

fn elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "method" | "one_time" => Some("write it under `auth:`"),
        "port" | "permit_root_login" | "password_authentication" => Some("write it under `ssh:`"),
        "nopasswd" => Some("write it under `sudo:`"),
        _ => None,
    }
}
