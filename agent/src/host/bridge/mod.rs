//! The bridge that machines are on, over the interface that leads to the parent, with its addresses.
//!
//! The way to the parent is taken down for a moment and comes up otherwise, so what was there is put on record first, and a
//! timer is set that puts it back whatever becomes of this process ([`record`]). When the parent is heard again, both go.
//! When it is not in time, everything is put back, and the error says so. A bridge of that name that is there is somebody's
//! work and left alone.

mod interfaces;
pub(super) mod links;
mod record;

use std::fs;
use std::path::Path;
use std::time::Duration;

use homestak_node::crash::{Plan, Side};
use homestak_protocol::fault::Code;
use homestak_protocol::message::Fetch;
use homestak_protocol::path::NodePath;
use tokio::time::{Instant, sleep};

use self::interfaces::{with_bridge, without};
use self::links::{Links, Uplink};
use self::record::{Before, clear_timer, reload_manager, set_timer};
use super::Link;
use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::resources::network::ifupdown::reload;
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;
use crate::config::undo::File;
use crate::config::{self, ConfigError};

const INTERFACES: &str = "/etc/network/interfaces";
const MORE_INTERFACES: &str = "/etc/network/interfaces.d";
/// What keeps systemd-networkd, and netplan by it, away from what is ifupdown2's now. Files there are taken by their names,
/// and the first that fits an interface counts.
const UNMANAGED: &str = "/etc/systemd/network/00-homestak-bridge.network";
/// What keeps cloud-init from writing the network anew at the next start.
const CLOUD_INIT: &str = "/etc/cloud/cloud.cfg.d/99-homestak-network.cfg";
/// Who resolves names, and where the servers stand that systemd-resolved knew of an interface that is no longer its own.
const RESOLVER: &str = "/etc/resolv.conf";
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// How long the parent may take to be heard again: DHCP and a bridge's ports take some ten seconds.
const RETURN: Duration = Duration::from_secs(90);
/// Shortens or lengthens that, in whole seconds.
const RETURN_ENV: &str = "HOMESTAK_NETWORK_WAIT";
/// How long an uplink that was just put back may take to have its addresses again.
const ADDRESSES: Duration = Duration::from_secs(30);
/// How often it is asked.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long a link that never broke proves that packets get through: a silent one is lost after 15 s, and up to 4 s
/// pass before this side says something.
const HELD: Duration = Duration::from_secs(25);

/// A bridge over the uplink.
pub(super) struct Bridge {
    pub(super) name: String,
    pub(super) link: Link,
    pub(super) crash: Plan,
    pub(super) place: NodePath,
}

impl Bridge {
    /// Every file that is changed, with its new text.
    fn files(&self, target: &Target, uplink: &Uplink) -> Result<Vec<(String, String)>, Trouble> {
        let now = target.read(INTERFACES)?.unwrap_or_default();
        let mut files = vec![(INTERFACES.to_owned(), with_bridge(&now, &self.name, uplink))];
        for entry in fs::read_dir(target.path(MORE_INTERFACES)).into_iter().flatten().flatten() {
            let path = format!("{MORE_INTERFACES}/{}", entry.file_name().to_string_lossy());
            let text = target.read(&path)?.unwrap_or_default();
            if let Some(left) = without(&text, &uplink.device) {
                files.push((path, left));
            }
        }
        if target.has("/etc/systemd/network") {
            let names = format!("[Match]\nName={} {}\n\n[Link]\nUnmanaged=yes\n", uplink.device, self.name);
            files.push((UNMANAGED.to_owned(), names));
        }
        if target.has("/etc/cloud/cloud.cfg.d") {
            files.push((CLOUD_INIT.to_owned(), "network: {config: disabled}\n".to_owned()));
        }
        let resolved = fs::read_link(target.path(RESOLVER))
            .is_ok_and(|to| to.components().any(|part| part.as_os_str() == "resolve"));
        if let (true, Some(servers)) = (resolved, target.read(RESOLVED)?) {
            files.push((RESOLVER.to_owned(), servers));
        }
        Ok(files)
    }

    /// The interface to make it over, once it has addresses.
    async fn uplink(&self, target: &Target) -> Result<(Links, Uplink), Trouble> {
        let begun = Instant::now();
        loop {
            let links = Links::read(target).await?;
            match links.uplink().filter(Uplink::has_addresses) {
                Some(uplink) => return Ok((links, uplink)),
                None if begun.elapsed() >= ADDRESSES => {
                    return Err(Trouble::Refused {
                        what:
                            "no interface of this machine has an address and the default route, so there is nothing to \
                               make a bridge over"
                                .to_owned(),
                        hint: Some("give it a gateway, or make the bridge in its image"),
                    });
                }
                None => {}
            }
            tokio::select! {
                () = target.task.cancel.cancelled() => return Err(Trouble::Cancelled),
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// Changes the network, with the way back prepared.
    async fn change(&self, target: &Target, links: &Links, uplink: &Uplink) -> Result<(), Trouble> {
        let files = self.files(target, uplink)?;
        let before = Before {
            device: uplink.device.clone(),
            bridge: self.name.clone(),
            had_bridge: links.has(&self.name),
            files: files.iter().map(|(path, _)| File::of(target, path)).collect::<Result<_, _>>()?,
        };
        before.write(&target.state)?;
        set_timer(target, patience()).await?;
        self.crash.reach("host.network-recorded", Side::After, &self.place);
        for (path, text) in &files {
            target.write(path, text, PUBLIC)?;
        }
        tracing::info!(bridge = %self.name, device = %uplink.device, "changing the network");
        reload_manager(target).await?;
        // Addresses that ifupdown2 did not give it would stay on the port.
        target
            .run(Command::new("ip").args(["address", "flush", "dev", &uplink.device, "scope", "global"]))
            .await?
            .well()?;
        reload(target).await?;
        // Its service ends well whatever becomes of an interface.
        if !Links::read(target).await?.has(&self.name) {
            return Err(Trouble::Refused {
                what: "ifupdown2 has not made it".to_owned(),
                hint: Some("`journalctl -u networking` on that machine has its words"),
            });
        }
        self.crash.reach("host.network-changed", Side::After, &self.place);
        Ok(())
    }

    /// Waits until the parent is heard again.
    async fn parent_returns(&self, target: &Target) -> Result<bool, Trouble> {
        let begun = Instant::now();
        let status = || {
            let status = self.link.status.borrow();
            (status.is_connected(), status.since_ms)
        };
        let first = status();
        let mut held = Instant::now();
        while begun.elapsed() < patience() {
            (target.task.progress)(format!(
                "waiting for the parent over {} ({} s)",
                self.name,
                begun.elapsed().as_secs()
            ));
            let now = status();
            if !now.0 {
                held = Instant::now();
            }
            let new = now.0 && now != first;
            // Whatever the parent says, it has heard us.
            let heard = async {
                self.link.fetcher.fetch(Fetch::Specs).await.err().map(|no| no.code) != Some(Code::Unreachable)
            };
            if new || heard.await || held.elapsed() >= HELD {
                return Ok(true);
            }
            tokio::select! {
                () = target.task.cancel.cancelled() => return Err(Trouble::Cancelled),
                () = sleep(AGAIN) => {}
            }
        }
        Ok(false)
    }

    /// Keeps the change where the parent returns, and takes it back where it does not.
    async fn settle(&self, target: &Target, changed: Result<(), Trouble>) -> Result<(), Trouble> {
        let returned = match changed {
            Ok(()) => self.parent_returns(target).await,
            Err(trouble) => Err(trouble),
        };
        let (why, hint) = match returned {
            Ok(true) => {
                clear_timer(target).await?;
                return Before::forget(&target.state);
            }
            Ok(false) => (
                format!("the parent was not heard within {} s over {}", patience().as_secs(), self.name),
                "look at that machine's network: does its switch or hypervisor take several MAC addresses on one port?",
            ),
            // Whoever comes next goes on waiting, or the timer puts it back.
            Err(Trouble::Cancelled) => return Err(Trouble::Cancelled),
            Err(trouble) => (format!("{} cannot be made: {trouble}", self.name), trouble.hint()),
        };
        (target.task.progress)("putting the network back".to_owned());
        put_back(target).await?;
        clear_timer(target).await?;
        Err(Trouble::Refused { what: format!("{why}; the network is what it was before"), hint: Some(hint) })
    }
}

/// How long the parent may take.
fn patience() -> Duration {
    let told = std::env::var(RETURN_ENV).ok().and_then(|text| text.parse().ok());
    told.map_or(RETURN, Duration::from_secs)
}

/// Puts the network back, if something is on record.
async fn put_back(target: &Target) -> Result<(), Trouble> {
    match Before::read(&target.state)? {
        Some(before) => {
            tracing::warn!(bridge = %before.bridge, "putting the network back");
            before.put_back(target).await
        }
        None => Ok(()),
    }
}

/// What the timer does: puts the network back, unless the agent is at it.
pub(crate) async fn put_bridge_back(state: &Path) -> Result<(), ConfigError> {
    let target = Target::here(state);
    let _alone = match config::alone(state, &target.task.cancel).await {
        Err(ConfigError::Busy) => {
            tracing::info!("the agent is at it");
            return Ok(());
        }
        other => other?,
    };
    Ok(put_back(&target).await?)
}

impl Resource for Bridge {
    fn name(&self) -> String {
        format!("bridge {}", self.name)
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            if Before::read(&target.state)?.is_some() {
                found.add("is not proven yet");
            } else if !Links::read(target).await?.has(&self.name) {
                found.add("is missing");
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            if Before::read(&target.state)?.is_some() {
                // An agent before us has died over it. The timer has too, where the machine was restarted.
                set_timer(target, patience()).await?;
                if Links::read(target).await?.has(&self.name) {
                    return self.settle(target, Ok(())).await;
                }
                put_back(target).await?;
                clear_timer(target).await?;
            }
            let (links, uplink) = self.uplink(target).await?;
            let changed = self.change(target, &links, &uplink).await;
            self.settle(target, changed).await
        })
    }
}
