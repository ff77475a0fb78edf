//! The SSH server's posture: a drop-in that sshd itself has found valid before it counts, and that locks nobody out.
//!
//! The server is told to read its files again, not restarted: sessions that are open stay open. What does not work with
//! the new file is taken back.

use std::fs;
use std::num::NonZeroU16;

use super::account::{find, has_password};
use super::keys;
use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;
use crate::files::FileError;

const MAIN: &str = "/etc/ssh/sshd_config";
const FOLDER: &str = "/etc/ssh/sshd_config.d";
/// Before those of others: the first word on a setting counts.
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-homestak.conf";
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf";
/// Where the files are tried before they count.
const TRIAL: &str = "/etc/ssh/.homestak-trial";
const PROGRAM: &str = "/usr/sbin/sshd";
/// Users who can log in some other way are looked for among these.
const ROOT: &str = "root";

/// How the SSH server behaves.
pub(crate) struct Sshd {
    pub(crate) port: NonZeroU16,
    pub(crate) root_login: String,
    pub(crate) passwords: bool,
    /// The users of the spec who have keys.
    pub(crate) users_with_keys: Vec<String>,
    /// All users of the spec.
    pub(crate) users: Vec<String>,
}

impl Sshd {
    fn drop_in(&self) -> String {
        let passwords = if self.passwords { "yes" } else { "no" };
        let (port, root) = (self.port, &self.root_login);
        format!("Port {port}\nPermitRootLogin {root}\nPasswordAuthentication {passwords}\n")
    }

    /// The server's own file so that the drop-ins count: it reads them first, and names no port besides.
    fn main(&self, is: &str) -> String {
        let first_word = |line: &str| line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let mut text = String::new();
        let mut in_match = false;
        let included = is.lines().map(str::trim).take_while(|line| first_word(line) != "match").any(|line| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|word| word.eq_ignore_ascii_case("include"))
                && words.any(|path| path == "/etc/ssh/sshd_config.d/*.conf" || path == "sshd_config.d/*.conf")
        });
        if !included {
            text.push_str(&format!("{INCLUDE}\n"));
        }
        for line in is.lines() {
            in_match |= first_word(line) == "match";
            // Ports add up, so another one here would stay open.
            if !in_match && first_word(line) == "port" && line.trim() != format!("Port {}", self.port) {
                text.push_str("# by homestak: ");
            }
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Whether somebody can log in with this posture: with a key that the spec gives, or with a password.
    fn lets_somebody_in(&self, target: &Target) -> Result<bool, Trouble> {
        let root = |with_key: bool| match self.root_login.as_str() {
            "no" | "forced-commands-only" => false,
            "yes" => with_key || (self.passwords && has_password(target, ROOT)),
            _ => with_key,
        };
        let of_spec = self.users_with_keys.iter().any(|user| user != ROOT || root(true));
        let by_password = self.passwords && accounts(target)?.iter().any(|user| has_password(target, user));
        Ok(of_spec || by_password || root(has_keys(target, ROOT)?) || self.others(target)?)
    }

    /// Whether somebody who is not the spec's business can log in with a key.
    fn others(&self, target: &Target) -> Result<bool, Trouble> {
        for user in accounts(target)?.iter().filter(|user| !self.users.contains(user)) {
            if has_keys(target, user)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A posture that leaves nobody a way in is not applied to a machine that somebody can log in to now.
    fn refuse_to_lock_out(&self, target: &Target) -> Result<(), Trouble> {
        if self.lets_somebody_in(target)? {
            return Ok(());
        }
        let is_way_in = |user: &str| Ok::<_, Trouble>(has_keys(target, user)? || has_password(target, user));
        if is_way_in(ROOT)? {
            let what = "nobody could log in any more: root may not, passwords do not count, and no user has a key";
            let hint = "give a user of the spec a key, or let root in";
            return Err(Trouble::Refused { what: what.to_owned(), hint: Some(hint) });
        }
        tracing::warn!("nobody can log in to this machine over SSH: no user of its spec has a key");
        Ok(())
    }

    /// Has sshd look at the files as they would be.
    async fn try_out(&self, target: &Target, main: &str, drop_in: Option<&str>) -> Result<(), Trouble> {
        let trial = target.path(TRIAL);
        let _old = fs::remove_dir_all(&trial);
        let copy = || -> std::io::Result<()> {
            fs::create_dir_all(&trial)?;
            for file in fs::read_dir(target.path(FOLDER)).into_iter().flatten() {
                let file = file?;
                fs::copy(file.path(), trial.join(file.file_name()))?;
            }
            if let Some(drop_in) = drop_in {
                fs::write(trial.join("10-homestak.conf"), drop_in)?;
            }
            fs::write(trial.join("main"), main.replace("/etc/ssh/sshd_config.d/", &format!("{TRIAL}/")))?;
            // sshd wants it also where it only looks; otherwise its unit makes it.
            fs::create_dir_all(target.path("/run/sshd"))
        };
        let copied = copy().map_err(FileError::of(&trial, "written"));
        let tried = match copied {
            Ok(()) => {
                let file = format!("{TRIAL}/main");
                target.run(Command::new(PROGRAM).args(["-t", "-f", &file])).await
            }
            Err(error) => Err(error.into()),
        };
        let _gone = fs::remove_dir_all(&trial);
        tried?.well().map(drop)
    }

    /// Tells a running server to read its files again.
    async fn reload(&self, target: &Target) -> Result<(), Trouble> {
        if !target.has("/run/systemd/system") {
            return Ok(());
        }
        // Either name is the other's alias on some systems; one that does not run has nothing to read again.
        let command = Command::new("systemctl").args(["reload-or-restart", "ssh.service"]);
        target.run(command).await?.well().map(drop)
    }
}

/// The users that have an account in which somebody can be.
fn accounts(target: &Target) -> Result<Vec<String>, Trouble> {
    let text = target.read("/etc/passwd")?.unwrap_or_default();
    let opens = |line: &&str| !(line.ends_with("/nologin") || line.ends_with("/false") || line.ends_with("/sync"));
    let names = text.lines().filter(opens).filter_map(|line| line.split(':').next());
    Ok(names.filter(|name| *name != ROOT).map(str::to_owned).collect())
}

fn has_keys(target: &Target, user: &str) -> Result<bool, Trouble> {
    let Some(entry) = find(target, user)? else { return Ok(false) };
    let text = target.read(&format!("{}/.ssh/authorized_keys", entry.home)).ok().flatten().unwrap_or_default();
    Ok(text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')))
}

impl Resource for Sshd {
    fn name(&self) -> String {
        "sshd".to_owned()
    }

    fn needs(&self) -> Vec<String> {
        // Whoever has no key yet must not lose the way in that there is.
        self.users_with_keys.iter().map(|user| keys::resource(user)).collect()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            found.text(DROP_IN, target.read(DROP_IN)?.as_deref(), &self.drop_in());
            if let Some(main) = target.read(MAIN)? {
                found.text(MAIN, Some(&main), &self.main(&main));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let (main, before) = (target.read(MAIN)?, target.read(DROP_IN)?);
            let wanted = main.as_deref().map(|main| self.main(main));
            let tested = wanted.as_deref().filter(|_| !target.simulated() && target.has(PROGRAM));
            if !target.simulated() {
                self.refuse_to_lock_out(target)?;
            }
            let tried = match tested {
                Some(wanted) => self.try_out(target, wanted, Some(&self.drop_in())).await,
                None => Ok(()),
            };
            if let Err(trouble) = tried {
                let before = self.try_out(target, main.as_deref().unwrap_or_default(), None).await;
                let what = if before.is_err() { "what is there is broken already" } else { "it is not valid" };
                let hint = "correct the files below /etc/ssh, then apply again; nothing was changed there";
                return Err(Trouble::Refused { what: format!("{what}: {trouble}"), hint: Some(hint) });
            }
            if let Some(wanted) = wanted.as_deref().filter(|wanted| Some(*wanted) != main.as_deref()) {
                target.write(MAIN, wanted, PUBLIC)?;
            }
            target.write(DROP_IN, &self.drop_in(), PUBLIC)?;
            if tested.is_none() {
                return Ok(());
            }
            let reloaded = self.reload(target).await;
            if reloaded.is_err() {
                match before {
                    Some(before) => target.write(DROP_IN, &before, PUBLIC)?,
                    None => target.remove(DROP_IN)?,
                }
                if let Some(main) = main {
                    target.write(MAIN, &main, PUBLIC)?;
                }
                // The server runs on with what it had; this makes sure that it does.
                let _as_before = self.reload(target).await;
            }
            reloaded
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sshd(port: u16) -> Sshd {
        Sshd {
            port: NonZeroU16::new(port).unwrap(),
            root_login: "no".into(),
            passwords: false,
            users_with_keys: Vec::new(),
            users: Vec::new(),
        }
    }

    #[test]
    fn the_servers_own_file_reads_the_drop_ins_and_opens_no_other_port() {
        let debian = "# comment\nInclude /etc/ssh/sshd_config.d/*.conf\n#Port 22\nUsePAM yes\n";
        assert_eq!(sshd(2222).main(debian), debian);
        let other = "Port 22\n port 2200\nUsePAM yes\nMatch User x\n  Port 1\n";
        let main = sshd(2200).main(other);
        assert_eq!(
            main,
            format!(
                "{INCLUDE}\n# by homestak: Port 22\n# by homestak:  port 2200\nUsePAM yes\nMatch User x\n  Port 1\n"
            )
        );
        assert_eq!(sshd(2200).main(&main), main);
    }
}
