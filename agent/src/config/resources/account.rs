//! Users: each has an account, a home of its own, a shell, and no password that it was not given by somebody else.

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// The shell of users that are made.
const SHELL: &str = "/bin/bash";

/// A user of a machine, as passwd(5) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// Finds a user of a machine.
pub(crate) fn find(target: &Target, name: &str) -> Result<Option<Entry>, Trouble> {
    let text = target.read("/etc/passwd")?.unwrap_or_default();
    Ok(text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [user, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
        let entry = || {
            Some(Entry {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
            })
        };
        (*user == name).then(entry).flatten()
    }))
}

/// Whether a user has a password that opens anything.
pub(crate) fn has_password(target: &Target, name: &str) -> bool {
    let text = target.read("/etc/shadow").ok().flatten().unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    lines.any(|rest| rest.starts_with('$'))
}

/// A user that is to be there.
pub(crate) struct Account(pub(crate) String);

/// What the account of this user is called among the resources.
pub(crate) fn resource(user: &str) -> String {
    format!("user {user}")
}

impl Resource for Account {
    fn name(&self) -> String {
        resource(&self.0)
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            match find(target, &self.0)? {
                None => found.add("is missing"),
                Some(entry) => {
                    if !target.path(&entry.home).is_dir() {
                        found.add(format!("has no home at {}", entry.home));
                    }
                    if !opens(&entry.shell) {
                        found.add(format!("has the shell {}", entry.shell));
                    }
                }
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let name = self.0.as_str();
            let Some(entry) = find(target, name)? else {
                let shell = if target.has(SHELL) { SHELL } else { "/bin/sh" };
                let command = Command::new("useradd").args(["--create-home", "--user-group", "--shell", shell]);
                return target.run(command.args(["--", name])).await?.well().map(drop);
            };
            if !opens(&entry.shell) {
                target.run(Command::new("usermod").args(["--shell", SHELL, "--", name])).await?.well()?;
            }
            if !target.path(&entry.home).is_dir() {
                target.run(Command::new("mkhomedir_helper").args([name])).await?.well()?;
            }
            Ok(())
        })
    }
}

/// Whether a shell lets its user in.
fn opens(shell: &str) -> bool {
    !(shell.ends_with("/nologin") || shell.ends_with("/false"))
}
