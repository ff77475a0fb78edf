//! An API token for this agent: a role with what our calls take, a user, its token, and both together wherever machines
//! are.
//!
//! PVE shows a token's value once. It is written where the settings say, for root alone; where that file is lost, or PVE
//! does not take what it holds, the token is made anew. A token of another name is an operator's, and left alone. The value
//! is in no error and no log.

use std::path::{Path, PathBuf};

use homestak_protocol::privilege::{ROLE, TOKEN, USER, names, token_id};
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
}

/// What is missing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lacks {
    /// Privileges of the role; all of them where there is no role.
    privileges: Vec<&'static str>,
    role: bool,
    user: bool,
    /// Why the token has to be made, or made anew.
    token: Option<String>,
    /// It is there, and its value is not known.
    replace: bool,
    user_grant: bool,
    token_grant: bool,
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
struct Grant {
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
        let roles: Vec<Role> = ask(target, &["role", "list"]).await?;
        let role = roles.iter().find(|role| role.roleid == ROLE);
        let has: Vec<&str> = role.map(|role| role.privs.split([',', ' ']).collect()).unwrap_or_default();
        lacks.role = role.is_none();
        lacks.privileges = names(installed(target)?.0).into_iter().filter(|name| !has.contains(name)).collect();
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
        let grants: Vec<Grant> = ask(target, &["acl", "list"]).await?;
        let granted =
            |who: &str| grants.iter().any(|grant| grant.path == "/" && grant.ugid == who && grant.roleid == ROLE);
        lacks.user_grant = !granted(USER);
        // With a token go its grants.
        lacks.token_grant = !granted(&id) || lacks.token.is_some();
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
            if !lacks.privileges.is_empty() {
                found.add(format!("needs the role {ROLE} with {}", lacks.privileges.join(", ")));
            }
            if lacks.user {
                found.add(format!("needs the user {USER}"));
            }
            if let Some(why) = &lacks.token {
                found.add(format!("{} {why}", token_id()));
            }
            if lacks.user_grant || lacks.token_grant {
                found.add(format!("may not use the role {ROLE} yet"));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let Some((file, lacks)) = self.look(target).await? else { return Ok(()) };
            let privileges = lacks.privileges.join(" ");
            if lacks.role {
                tell(target, &["role", "add", ROLE, "--privs", &privileges]).await?;
            } else if !lacks.privileges.is_empty() {
                tell(target, &["role", "modify", ROLE, "--privs", &privileges, "--append", "1"]).await?;
            }
            if lacks.user {
                tell(target, &["user", "add", USER, "--comment", "homestak: the agent of this host"]).await?;
            }
            if lacks.token.is_some() {
                self.make(&file, lacks.replace, target).await?;
            }
            if lacks.user_grant {
                tell(target, &["acl", "modify", "/", "--users", USER, "--roles", ROLE]).await?;
            }
            if lacks.token_grant {
                tell(target, &["acl", "modify", "/", "--tokens", &token_id(), "--roles", ROLE]).await?;
            }
            Ok(())
        })
    }
}
