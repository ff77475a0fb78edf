//! Services: those that start at boot run, the others do not.

use std::collections::HashMap;

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// Whether systemd is what this machine runs on.
const BOOTED: &str = "/run/systemd/system";

/// A unit, as systemd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    name: String,
    there: bool,
    file_state: String,
    active: bool,
    /// It does its work and ends; that it does not run is no difference.
    once: bool,
    /// It was started, and systemd found that it is not for this machine (a clock's in a container).
    not_here: bool,
    booted: bool,
}

impl Unit {
    /// Whether there is such a unit.
    pub(crate) fn is_there(&self) -> bool {
        self.there
    }

    /// Whether it can be started and stopped.
    pub(crate) fn is_booted(&self) -> bool {
        self.booted
    }

    /// Adds how it is not as it should be.
    pub(crate) fn differs(&self, enabled: bool, found: &mut Differences) {
        let (name, state) = (&self.name, self.file_state.as_str());
        let starts = matches!(state, "enabled" | "enabled-runtime" | "generated" | "linked");
        match enabled {
            true if !self.there => found.add(format!("{name} is not there")),
            true => {
                if !(starts || matches!(state, "static" | "alias" | "indirect")) {
                    found.add(format!("{name} does not start at boot"));
                }
                if !(self.active || self.once || self.not_here || !self.booted) {
                    found.add(format!("{name} does not run"));
                }
            }
            // What is not there does not start either.
            false if !self.there => {}
            false => {
                if starts {
                    found.add(format!("{name} starts at boot"));
                }
                if self.active && !self.once {
                    found.add(format!("{name} runs"));
                }
            }
        }
    }
}

/// Asks systemd about units, all at once.
pub(crate) async fn look(target: &Target, names: &[String]) -> Result<Vec<Unit>, Trouble> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let booted = target.has(BOOTED);
    if !booted {
        return look_at_files(target, names).await;
    }
    let properties = "LoadState,UnitFileState,ActiveState,Type,ConditionResult,ConditionTimestampMonotonic";
    let command = Command::new("systemctl").args(["show", "--property", properties, "--"]).args(names);
    let text = target.run(command).await?.well()?;
    let mut blocks = text.split("\n\n");
    Ok(names.iter().map(|name| parse(name, blocks.next().unwrap_or_default())).collect())
}

/// A block of `systemctl show`.
fn parse(name: &str, block: &str) -> Unit {
    let properties: HashMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
    let of = |key: &str| properties.get(key).copied().unwrap_or_default();
    Unit {
        name: name.to_owned(),
        there: !matches!(of("LoadState"), "not-found" | ""),
        file_state: of("UnitFileState").to_owned(),
        active: matches!(of("ActiveState"), "active" | "activating" | "reloading"),
        once: of("Type") == "oneshot",
        not_here: of("ConditionResult") == "no" && !matches!(of("ConditionTimestampMonotonic"), "" | "0"),
        booted: true,
    }
}

/// Asks about units of a machine that has not been started, one by one.
async fn look_at_files(target: &Target, names: &[String]) -> Result<Vec<Unit>, Trouble> {
    let mut units = Vec::with_capacity(names.len());
    for name in names {
        let out = target.run(Command::new("systemctl").args(["is-enabled", "--", name])).await?;
        let file_state = out.stdout.trim().to_owned();
        let there = !matches!(file_state.as_str(), "" | "not-found");
        units.push(Unit {
            name: name.clone(),
            there,
            file_state,
            active: false,
            once: false,
            not_here: false,
            booted: false,
        });
    }
    Ok(units)
}

/// Services that start at boot, and others that do not.
pub(crate) struct Services {
    pub(crate) enable: Vec<String>,
    pub(crate) disable: Vec<String>,
}

impl Resource for Services {
    fn name(&self) -> String {
        "services".to_owned()
    }

    fn needs(&self) -> Vec<String> {
        vec!["packages".to_owned()]
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let all: Vec<String> = self.enable.iter().chain(&self.disable).cloned().collect();
            let mut found = Differences::default();
            for (index, unit) in look(target, &all).await?.iter().enumerate() {
                unit.differs(index < self.enable.len(), &mut found);
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let run = |verb: &str, name: &str, now: bool| {
                let now = now.then_some("--now");
                let command = Command::new("systemctl").args([verb]).args(now).args(["--", name]);
                async move { target.run(command).await?.well().map(drop) }
            };
            let now = target.has(BOOTED);
            // One that cannot be started is told of after the others have had their turn.
            let mut failed = None;
            for name in &self.enable {
                failed = run("enable", name, now).await.err().or(failed);
            }
            for unit in look(target, &self.disable).await?.iter().filter(|unit| unit.is_there()) {
                failed = run("disable", &unit.name, now).await.err().or(failed);
            }
            failed.map_or(Ok(()), Err)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(block: &str, enabled: bool) -> Option<String> {
        let mut found = Differences::default();
        parse("x", block).differs(enabled, &mut found);
        found.whole().map(|found| found.what)
    }

    #[test]
    fn a_service_is_as_it_should_be_when_it_starts_at_boot_and_runs() {
        let running = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nType=simple";
        assert_eq!(differences(running, true), None);
        assert_eq!(differences(running, false).unwrap(), "x starts at boot, x runs");
        let idle = "LoadState=loaded\nUnitFileState=disabled\nActiveState=failed\nType=simple";
        assert_eq!(differences(idle, true).unwrap(), "x does not start at boot, x does not run");
        assert_eq!(differences(idle, false), None);
        let once = "LoadState=loaded\nUnitFileState=enabled\nActiveState=inactive\nType=oneshot";
        assert_eq!(differences(once, true), None);
        let not_here =
            "LoadState=loaded\nUnitFileState=enabled\nActiveState=inactive\nType=forking\nConditionResult=no";
        assert_eq!(differences(not_here, true).unwrap(), "x does not run", "nobody has tried yet");
        assert_eq!(differences(&format!("{not_here}\nConditionTimestampMonotonic=17"), true), None);
        let missing = "LoadState=not-found\nUnitFileState=\nActiveState=inactive";
        assert_eq!(differences(missing, true).unwrap(), "x is not there");
        assert_eq!(differences(missing, false), None);
    }
}
