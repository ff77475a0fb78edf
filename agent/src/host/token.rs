//! An API token for this agent: the roles with what our calls take, a user, its token, and what both are granted.
//!
//! PVE shows a token's value once. It is written where the settings say, for root alone; where that file is lost, or PVE
//! does not take what it holds, the token is made anew. A token of another name is an operator's, and left alone. The value
//! is in no error and no log.

use std::path::{Path, PathBuf};

use homestak_protocol::privilege::{self, TOKEN, USER, grants, token_id};
use homestak_protocol::secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::release::installed;
use super::tools;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PRIVATE, Target};
use crate::config::trouble::Trouble;
use crate::provider::pve::{Api, Greeting};
use crate::settings::TokenSource;

/// What users, roles and tokens are managed by.
const PVEUM: &str = "pveum";

/// The agent's token.
pub(super) struct Token {
    pub(super) source: TokenSource,
    pub(super) api: Api,
    /// The storage of snippets.
    pub(super) snippets: String,
}

/// What is missing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lacks {
    roles: Vec<RoleLacks>,
    user: bool,
    /// Why the token has to be made, or made anew.
    token: Option<String>,
    /// It is there, and its value is not known.
    replace: bool,
}

/// What is missing of a role.
#[derive(Debug, PartialEq, Eq)]
struct RoleLacks {
    /// What is to be granted.
    role: &'static str,
    path: String,
    /// Whether the role is there.
    there: bool,
    /// Privileges of it; all of them where it is not there.
    privileges: Vec<&'static str>,
    /// Whether the user, and the token, are to be granted it.
    user: bool,
    token: bool,
}

#[derive(Deserialize)]
struct Role {
    roleid: String,
    #[serde(default)]
    privs: String,
}

#[derive(Deserialize)]
struct User {
    userid: String,
}

#[derive(Deserialize)]
struct Known {
    tokenid: String,
}

#[derive(Deserialize)]
struct Granted {
    path: String,
    ugid: String,
    roleid: String,
}

/// What `pveum user token add` answers with.
#[derive(Deserialize)]
struct Made {
    value: Secret,
}

impl Token {
    /// The file that it is to lie in; none where somebody has given us one.
    fn file(&self) -> Option<&Path> {
        match &self.source {
            TokenSource::Given(_) => None,
            TokenSource::File(file) => Some(file),
        }
    }

    /// What is missing; none where the token is somebody else's work.
    async fn look(&self, target: &Target) -> Result<Option<(PathBuf, Lacks)>, Trouble> {
        let Some(file) = self.file() else { return Ok(None) };
        let held = target.read(&file.display().to_string())?;
        let id = token_id();
        let ours = held.as_deref().map(|text| text.trim().split_once('=').is_some_and(|(is, _)| is == id));
        if held.as_ref().is_some_and(|text| text.contains('!')) && ours == Some(false) {
            return Ok(None);
        }
        let mut lacks = Lacks::default();
        let users: Vec<User> = ask(target, &["user", "list"]).await?;
        lacks.user = !users.iter().any(|user| user.userid == USER);
        let tokens: Vec<Known> =
            if lacks.user { Vec::new() } else { ask(target, &["user", "token", "list", USER]).await? };
        let there = tokens.iter().any(|token| token.tokenid == TOKEN);
        lacks.replace = there;
        lacks.token = match (there, ours) {
            (false, _) => Some("is missing".to_owned()),
            (true, None) => Some(format!("is there, but not its value in {}", file.display())),
            (true, Some(false)) => Some(format!("is there, but {} holds another", file.display())),
            // Whether PVE can be asked yet does not matter here.
            (true, Some(true)) => match self.api.greet().await {
                Ok(Greeting::Refused(why)) => Some(format!("is not taken: {why}")),
                _ => None,
            },
        };
        let (roles, held): (Vec<Role>, Vec<Granted>) =
            (ask(target, &["role", "list"]).await?, ask(target, &["acl", "list"]).await?);
        for privilege::Grant { role, path, privileges } in grants(installed(target)?.0, &self.snippets) {
            let known = roles.iter().find(|known| known.roleid == role);
            let has: Vec<&str> = known.map(|known| known.privs.split([',', ' ']).collect()).unwrap_or_default();
            let granted = |who: &str| held.iter().any(|one| one.path == path && one.ugid == who && one.roleid == role);
            lacks.roles.push(RoleLacks {
                role,
                there: known.is_some(),
                privileges: privileges.into_iter().filter(|name| !has.contains(name)).collect(),
                user: !granted(USER),
                // With a token go its grants.
                token: !granted(&id) || lacks.token.is_some(),
                path: path.clone(),
            });
        }
        Ok(Some((file.to_owned(), lacks)))
    }

    /// Makes the token, and writes its value down.
    async fn make(&self, file: &Path, replace: bool, target: &Target) -> Result<(), Trouble> {
        if replace {
            tell(target, &["user", "token", "remove", USER, TOKEN]).await?;
        }
        let made: Made = ask(target, &["user", "token", "add", USER, TOKEN, "--privsep", "1"]).await?;
        let line = format!("{}={}\n", token_id(), made.value.expose());
        target.write(&file.display().to_string(), &line, PRIVATE)?;
        self.api.forget();
        Ok(())
    }
}

/// Asks `pveum`.
async fn ask<T: DeserializeOwned>(target: &Target, words: &[&str]) -> Result<T, Trouble> {
    tools::ask(target, PVEUM, words).await
}

/// Tells it something.
async fn tell(target: &Target, words: &[&str]) -> Result<(), Trouble> {
    tools::tell(target, PVEUM, words).await
}

impl Resource for Token {
    fn name(&self) -> String {
        "api token".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            let Some((_, lacks)) = self.look(target).await? else { return Ok(None) };
            for RoleLacks { role, path, privileges, user, token, .. } in &lacks.roles {
                if !privileges.is_empty() {
                    found.add(format!("needs the role {role} with {}", privileges.join(", ")));
                }
                if *user || *token {
                    found.add(format!("may not use the role {role} on {path} yet"));
                }
            }
            if lacks.user {
                found.add(format!("needs the user {USER}"));
            }
            if let Some(why) = &lacks.token {
                found.add(format!("{} {why}", token_id()));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let Some((file, lacks)) = self.look(target).await? else { return Ok(()) };
            for RoleLacks { role, there, privileges, .. } in &lacks.roles {
                let privileges = privileges.join(" ");
                if !there {
                    tell(target, &["role", "add", role, "--privs", &privileges]).await?;
                } else if !privileges.is_empty() {
                    tell(target, &["role", "modify", role, "--privs", &privileges, "--append", "1"]).await?;
                }
            }
            if lacks.user {
                tell(target, &["user", "add", USER, "--comment", "homestak: the agent of this host"]).await?;
            }
            if lacks.token.is_some() {
                self.make(&file, lacks.replace, target).await?;
            }
            for RoleLacks { role, path, user, token, .. } in &lacks.roles {
                if *user {
                    tell(target, &["acl", "modify", path, "--users", USER, "--roles", role]).await?;
                }
                if *token {
                    tell(target, &["acl", "modify", path, "--tokens", &token_id(), "--roles", role]).await?;
                }
            }
            Ok(())
        })
    }
}
