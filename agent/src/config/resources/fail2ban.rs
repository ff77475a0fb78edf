//! Locking out who guesses: fail2ban with a jail for the SSH server, or without.

use std::num::NonZeroU16;

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PUBLIC, Target};

use super::services::{Unit, look};

const JAIL: &str = "/etc/fail2ban/jail.d/homestak.conf";
const UNIT: &str = "fail2ban.service";

/// The jail of the SSH server.
pub(crate) struct Fail2ban {
    pub(crate) enabled: bool,
    pub(crate) port: NonZeroU16,
}

impl Fail2ban {
    fn jail(&self) -> String {
        // The journal has what the SSH server says; a log file only where somebody has installed what writes one.
        format!("[sshd]\nenabled = true\nbackend = systemd\nport = {}\n", self.port)
    }

    async fn unit(&self, target: &Target) -> Result<Option<Unit>, crate::config::trouble::Trouble> {
        if target.simulated() {
            return Ok(None);
        }
        Ok(look(target, &[UNIT.to_owned()]).await?.into_iter().next())
    }
}

impl Resource for Fail2ban {
    fn name(&self) -> String {
        "fail2ban".to_owned()
    }

    fn needs(&self) -> Vec<String> {
        if self.enabled { vec!["packages".to_owned()] } else { Vec::new() }
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            if self.enabled {
                found.text(JAIL, target.read(JAIL)?.as_deref(), &self.jail());
            } else if target.has(JAIL) {
                found.add(format!("{JAIL} should not be there"));
            }
            if let Some(unit) = self.unit(target).await? {
                unit.differs(self.enabled, &mut found);
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let run = |arguments: &[&str]| target.run(Command::new("systemctl").args(arguments.iter().copied()));
            if self.enabled {
                target.write(JAIL, &self.jail(), PUBLIC)?;
                if self.unit(target).await?.is_some_and(|unit| unit.is_booted()) {
                    run(&["enable", UNIT]).await?.well()?;
                    run(&["restart", UNIT]).await?.well()?;
                }
            } else {
                target.remove(JAIL)?;
                if self.unit(target).await?.is_some_and(|unit| unit.is_there()) {
                    run(&["disable", "--now", UNIT]).await?.well()?;
                }
            }
            Ok(())
        })
    }
}
