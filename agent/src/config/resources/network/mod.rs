//! A fixed address: on the device that leads to everybody, by whichever of Debian's tools sets that device up.
//!
//! Nobody is cut off. What was there before comes back unless the parent is reached by what is there then
//! ([`way_back`]).

pub(crate) mod ifupdown;
mod live;
mod networkd;
pub(crate) mod way_back;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use self::way_back::Before;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::spec;
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;

/// How a file of ours begins.
const HEAD: &str = "# by homestak-agent, as this machine's spec has it\n";
const RESOLV: &str = "/etc/resolv.conf";
/// The devices of a folder, where nobody can be asked: whatever looks like Ethernet.
const ANY: &str = "e*";
/// What to do about one that leads nowhere.
const CORRECT: &str = "correct `network` of the spec, then apply again";
/// How long networkd may take to take a device up: an agent is there as soon as its machine has an address, whoever gave it.
const TAKING_UP: Duration = Duration::from_secs(15);
/// How long the new address and the parent may take to answer. A bridge takes half of it to let anything through.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one attempt to reach the parent may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How often to look. Nobody tells when an address is there and somebody behind it.
const AGAIN: Duration = Duration::from_millis(250);

/// The fixed address of a machine.
pub(crate) struct Network {
    pub(crate) net: spec::Network,
    pub(crate) domain: Option<String>,
}

/// What is wanted of a device.
struct Wanted<'a> {
    net: &'a spec::Network,
    domain: Option<&'a str>,
}

/// What sets a device up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Tool {
    Networkd,
    Ifupdown,
}

/// What is to be written, for which device.
struct Plan {
    device: String,
    tool: Tool,
    /// Paths, what they hold and what they are to hold.
    files: Vec<(String, Option<String>, String)>,
}

impl Network {
    async fn plan(&self, target: &Target) -> Result<Plan, Trouble> {
        let wanted = Wanted { net: &self.net, domain: self.domain.as_deref() };
        if target.simulated() {
            return self.plan_of_folder(target, &wanted);
        }
        let device = live::device(target).await?;
        let begun = Instant::now();
        let (tool, file, text) = loop {
            match (networkd::base(target, &device)?, ifupdown::base(target, &device)?) {
                (Some(base), _) => {
                    break (Tool::Networkd, networkd::FILE.to_owned(), networkd::text(&base, &device, &wanted));
                }
                (None, Some((file, base))) => break (Tool::Ifupdown, file, ifupdown::text(&base, &device, &wanted)),
                (None, None) if begun.elapsed() < TAKING_UP => sleep(AGAIN).await,
                (None, None) => {
                    let what = format!("{device} is set up by neither systemd-networkd nor ifupdown");
                    let hint = "set its address up by hand and leave `network` out of the spec";
                    return Err(Trouble::Refused { what, hint: Some(hint) });
                }
            }
        };
        let mut files = vec![(file.clone(), target.read(&file)?, text)];
        // A link leads to what some other program writes.
        if !self.net.dns.is_empty() && !target.path(RESOLV).is_symlink() {
            let is = target.read(RESOLV)?;
            let text = resolver(is.as_deref().unwrap_or_default(), &wanted);
            files.push((RESOLV.to_owned(), is, text));
        }
        Ok(Plan { device, tool, files })
    }

    fn plan_of_folder(&self, target: &Target, wanted: &Wanted<'_>) -> Result<Plan, Trouble> {
        let is = target.read(networkd::FILE)?;
        let text = networkd::text(is.as_deref().unwrap_or_default(), ANY, wanted);
        let files = vec![(networkd::FILE.to_owned(), is, text)];
        Ok(Plan { device: ANY.to_owned(), tool: Tool::Networkd, files })
    }

    /// Writes the files and has them count, until the parent is reached.
    async fn change(&self, target: &Target, plan: &Plan) -> Result<(), Trouble> {
        if plan.tool == Tool::Ifupdown {
            ifupdown::take_down(target, &plan.device).await?;
        }
        for (path, _, text) in &plan.files {
            target.write(path, text, PUBLIC)?;
        }
        match plan.tool {
            Tool::Networkd => networkd::bring_up(target, &plan.device).await?,
            Tool::Ifupdown => ifupdown::bring_up(target, &plan.device).await?,
        }
        let begun = Instant::now();
        loop {
            let mut lacks = Differences::default();
            live::differs(target, &plan.device, &self.net, &mut lacks).await?;
            let why = match lacks.whole() {
                Some(lacks) => format!("{} {}", plan.device, lacks.what),
                None if reaches_parent(&target.parent).await => return Ok(()),
                None => format!("the parent ({}) cannot be reached with it", target.parent.join(", ")),
            };
            if begun.elapsed() >= PATIENCE {
                return Err(Trouble::refused(why));
            }
            (target.task.progress)(format!("waiting: {why}"));
            tokio::select! {
                () = target.task.cancel.cancelled() => return Err(Trouble::Cancelled),
                () = sleep(AGAIN) => {}
            }
        }
    }
}

/// Whether the parent answers at one of its addresses; where none is known, there is nobody to be cut off from.
async fn reaches_parent(servers: &[String]) -> bool {
    for server in servers {
        if matches!(timeout(ATTEMPT, TcpStream::connect(server.as_str())).await, Ok(Ok(_))) {
            return true;
        }
    }
    servers.is_empty()
}

/// `resolv.conf` with these servers; its options stay.
fn resolver(is: &str, wanted: &Wanted<'_>) -> String {
    let replaced = |line: &&str| match line.split_whitespace().next() {
        Some("nameserver") => false,
        Some("search" | "domain") => wanted.domain.is_none(),
        _ => *line != HEAD.trim_end(),
    };
    let mut text = HEAD.to_owned();
    let search = wanted.domain.map(|domain| format!("search {domain}"));
    let servers = wanted.net.dns.iter().map(|server| format!("nameserver {server}"));
    let others = is.lines().filter(replaced).map(str::to_owned);
    for line in search.into_iter().chain(servers).chain(others) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

impl Resource for Network {
    fn name(&self) -> String {
        "network".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let (plan, mut found) = (self.plan(target).await?, Differences::default());
            plan.files.iter().for_each(|(path, is, text)| found.text(path, is.as_deref(), text));
            if !target.simulated() {
                live::differs(target, &plan.device, &self.net, &mut found).await?;
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let plan = self.plan(target).await?;
            if target.simulated() {
                return Ok(plan.files.iter().try_for_each(|(path, _, text)| target.write(path, text, PUBLIC))?);
            }
            let paths: Vec<&str> = plan.files.iter().map(|(path, _, _)| path.as_str()).collect();
            let before = Before::keep(target, &plan.device, plan.tool, &paths).await?;
            match self.change(target, &plan).await {
                Ok(()) => before.forget(target).await,
                Err(trouble) => {
                    (target.task.progress)("going back to what was there before".to_owned());
                    let after = match before.restore(target).await {
                        Ok(()) => "what was there before is back".to_owned(),
                        Err(trouble) => format!("what was there before cannot be brought back: {trouble}"),
                    };
                    Err(match trouble {
                        Trouble::Cancelled => Trouble::Cancelled,
                        other => Trouble::Refused { what: format!("{other}; {after}"), hint: Some(CORRECT) },
                    })
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
