//! `config ansible-vars`: the variables of ansible's roles.

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::SiteName;
use serde::Serialize;

use super::spec::one_of;
use crate::site::Site;
use crate::site::model::{DEFAULT_POSTURE, Package, RootLogin, Switch};

/// The variables, in the order in which they always were printed.
#[derive(Debug, Serialize)]
pub struct AnsibleVars<'s> {
    timezone: &'s str,
    pve_remove_subscription_nag: bool,
    packages: Vec<&'s str>,
    ssh_port: u16,
    ssh_permit_root_login: RootLogin,
    ssh_password_authentication: Switch,
    sudo_nopasswd: bool,
    fail2ban_enabled: bool,
    env_name: String,
    posture_name: String,
    ssh_authorized_keys: Vec<&'s str>,
}

impl Site {
    /// The site's defaults, then a posture's, packages of both in order and once each. The posture is the one that is named,
    /// else that of the environment, else the one that has the environment's name, else `dev`.
    pub fn ansible_vars(&self, posture: Option<&SiteName>, env: Option<&SiteName>) -> Result<AnsibleVars<'_>, Fault> {
        let content = &self.content;
        let of_env = env.and_then(|env| content.envs.get(env)).and_then(|env| env.posture.as_ref());
        let namesake = env.filter(|env| content.postures.contains_key(env));
        let usual = SiteName::parse(DEFAULT_POSTURE).ok();
        let name = posture.or(of_env).or(namesake).or(usual.as_ref()).cloned();
        let name = name.ok_or_else(|| Fault::new(Code::PostureNotFound, "no posture is named"))?;
        let (name, posture) = content.postures.get_key_value(&name).ok_or_else(|| {
            Fault::new(Code::PostureNotFound, format!("the site has no posture {name}"))
                .hint(one_of("postures", content.postures.keys()))
        })?;
        let defaults = &content.defaults;
        Ok(AnsibleVars {
            timezone: defaults.timezone.as_ref().map_or("UTC", |zone| zone.as_str()),
            pve_remove_subscription_nag: defaults.pve_remove_subscription_nag.unwrap_or(true),
            packages: merged([&defaults.packages, &posture.packages]),
            ssh_port: posture.ssh.port.get(),
            ssh_permit_root_login: posture.ssh.permit_root_login,
            ssh_password_authentication: posture.ssh.password_authentication,
            sudo_nopasswd: posture.sudo.nopasswd,
            fail2ban_enabled: posture.fail2ban.enabled,
            env_name: env.unwrap_or(name).to_string(),
            posture_name: name.to_string(),
            ssh_authorized_keys: self.secrets()?.ssh_keys.iter().map(|(_, key)| key.as_str()).collect(),
        })
    }
}

/// Packages of several lists in their order, each where it comes first.
pub(super) fn merged<'p>(lists: impl IntoIterator<Item = &'p Vec<Package>>) -> Vec<&'p str> {
    let mut all = Vec::new();
    for package in lists.into_iter().flatten().map(Package::as_str) {
        if !all.contains(&package) {
            all.push(package);
        }
    }
    all
}
