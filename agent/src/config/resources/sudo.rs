//! Who may become root, and whether with a password: one drop-in a user, checked by sudo's own program before it counts.

use std::collections::BTreeMap;
use std::fs;

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{SUDOERS, Target};
use crate::config::trouble::Trouble;

const FOLDER: &str = "/etc/sudoers.d";
/// How our drop-ins begin; others are nobody's business.
const OURS: &str = "homestak-";
/// A name that sudo passes over, for a drop-in that is not checked yet.
const DRAFT: &str = "/etc/sudoers.d/.homestak-draft";

/// The users that may become root.
pub(crate) struct Sudo {
    pub(crate) users: Vec<String>,
    pub(crate) nopasswd: bool,
}

impl Sudo {
    /// Content by path.
    fn wanted(&self) -> BTreeMap<String, String> {
        let password = if self.nopasswd { "NOPASSWD: " } else { "" };
        let drop_in =
            |user: &String| (format!("{FOLDER}/{OURS}{user}"), format!("{user} ALL=(ALL:ALL) {password}ALL\n"));
        self.users.iter().map(drop_in).collect()
    }

    /// Our drop-ins for users that may not become root.
    fn stale(&self, target: &Target) -> Vec<String> {
        let wanted = self.wanted();
        let files = fs::read_dir(target.path(FOLDER)).into_iter().flatten().flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let paths = names.filter(|name| name.starts_with(OURS)).map(|name| format!("{FOLDER}/{name}"));
        paths.filter(|path| !wanted.contains_key(path)).collect()
    }
}

impl Resource for Sudo {
    fn name(&self) -> String {
        "sudo".to_owned()
    }

    fn needs(&self) -> Vec<String> {
        self.users.iter().map(|user| super::account::resource(user)).collect()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            for (path, content) in self.wanted() {
                found.text(&path, target.read(&path)?.as_deref(), &content);
                let mode = mode(target, &path);
                if mode.is_some_and(|mode| mode != SUDOERS.file) {
                    found.add(format!("{path} has the mode {:04o}", mode.unwrap_or_default()));
                }
            }
            self.stale(target).iter().for_each(|path| found.add(format!("{path} should not be there")));
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            for path in self.stale(target) {
                target.remove(&path)?;
            }
            for (path, content) in self.wanted() {
                if !target.simulated() {
                    if !target.has("/usr/sbin/visudo") {
                        let hint = Some("add `sudo` to the packages of the spec");
                        return Err(Trouble::Refused { what: "sudo is not installed here".to_owned(), hint });
                    }
                    target.write(DRAFT, &content, SUDOERS)?;
                    let valid = target.run(Command::new("visudo").args(["-c", "-f", DRAFT])).await;
                    target.remove(DRAFT)?;
                    valid?.well()?;
                }
                target.write(&path, &content, SUDOERS)?;
            }
            Ok(())
        })
    }
}

fn mode(target: &Target, path: &str) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(target.path(path)).ok().map(|meta| meta.permissions().mode() & 0o7777)
}
