//! `/etc/network/interfaces` (interfaces(5)): the stanza of one device, with the address that is wanted in place of the one
//! that it had, or of DHCP. Everything else in the file stays, bridges' ports above all.

use std::fs;
use std::time::Duration;

use super::Wanted;
use crate::config::command::Command;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

const MAIN: &str = "/etc/network/interfaces";
const FOLDER: &str = "/etc/network/interfaces.d";
/// What brings interfaces up when the machine starts.
const SERVICE: &str = "networking.service";
/// How long that may take: DHCP and a bridge's ports take some ten seconds.
const RELOADING: Duration = Duration::from_secs(120);
/// What begins a stanza.
const WORDS: [&str; 9] =
    ["iface", "mapping", "auto", "source", "source-directory", "no-auto-down", "no-scripts", "rename", "allow-hotplug"];
/// What says how a device is addressed.
const ADDRESSING: [&str; 12] = [
    "address",
    "netmask",
    "broadcast",
    "network",
    "gateway",
    "pointopoint",
    "hostname",
    "leasehours",
    "leasetime",
    "vendor",
    "client",
    "scope",
];

/// The file that has the stanza of a device, and its text; none where ifupdown does not know that device.
pub(super) fn base(target: &Target, device: &str) -> Result<Option<(String, String)>, Trouble> {
    let folder = fs::read_dir(target.path(FOLDER)).into_iter().flatten().flatten();
    let mut files: Vec<String> = folder
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .map(|name| format!("{FOLDER}/{name}"))
        .collect();
    files.sort();
    for file in [MAIN.to_owned()].into_iter().chain(files) {
        if let Some(text) = target.read(&file)?
            && text.lines().any(|line| is_stanza_of(line, device))
        {
            return Ok(Some((file, text)));
        }
    }
    Ok(None)
}

fn is_stanza_of(line: &str, device: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words.as_slice(), ["iface", name, "inet", ..] if *name == device)
}

/// The file with the stanza as it is wanted.
pub(super) fn text(base: &str, device: &str, wanted: &Wanted<'_>) -> String {
    let (mut text, mut inside, mut done) = (String::new(), false, false);
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    for line in base.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if WORDS.contains(&word) || word.starts_with("allow-") {
            inside = false;
        }
        if !done && is_stanza_of(line, device) {
            (inside, done) = (true, true);
            say(&format!("iface {device} inet static"));
            say(&format!("\taddress {}", wanted.net.address()));
            say(&format!("\tgateway {}", wanted.net.gateway));
            if !wanted.net.dns.is_empty() {
                let servers: Vec<String> = wanted.net.dns.iter().map(ToString::to_string).collect();
                say(&format!("\tdns-nameservers {}", servers.join(" ")));
            }
            if let Some(domain) = wanted.domain {
                say(&format!("\tdns-search {domain}"));
            }
        } else if !(inside && is_replaced(word, wanted)) {
            say(line);
        }
    }
    text
}

fn is_replaced(option: &str, wanted: &Wanted<'_>) -> bool {
    ADDRESSING.contains(&option)
        || (option == "dns-nameservers" && !wanted.net.dns.is_empty())
        || (matches!(option, "dns-search" | "dns-domain") && wanted.domain.is_some())
}

/// Whether it is ifupdown2, which finds out by itself what is another.
fn reloads(target: &Target) -> bool {
    ["/usr/sbin/ifreload", "/sbin/ifreload"].iter().any(|program| target.has(program))
}

/// Takes a device down by what is in the files yet: what was started for it, such as a DHCP client, is known by them.
pub(super) async fn take_down(target: &Target, device: &str) -> Result<(), Trouble> {
    if reloads(target) {
        return Ok(());
    }
    target.run(Command::new("ifdown").args(["--force", device])).await?.well().map(drop)
}

/// Brings it up by what is in the files now.
pub(super) async fn bring_up(target: &Target, device: &str) -> Result<(), Trouble> {
    match reloads(target) {
        true => reload(target).await,
        // In a scope of its own: a DHCP client that it starts would end with this agent, or with the timer's service.
        false => {
            let up = Command::new("systemd-run").args(["--quiet", "--collect", "--scope", "--", "ifup", device]);
            target.run(up).await?.well().map(drop)
        }
    }
}

/// Has ifupdown2 make the network what the files say, as its service does: where that has never run, the folder that it
/// locks itself in is missing (`ifreload` then says that another instance of it runs), and the DHCP clients that it starts
/// live on in the service, whoever ends.
pub(crate) async fn reload(target: &Target) -> Result<(), Trouble> {
    let systemctl = |words: &[&str]| Command::new("systemctl").args(words.iter().copied()).limit(RELOADING);
    // ifupdown2 may have come in ifupdown's place since systemd has read the unit.
    target.run(systemctl(&["daemon-reload"])).await?.well()?;
    let active = target.run(systemctl(&["is-active", "--quiet", SERVICE])).await?.code == Some(0);
    target.run(systemctl(&[if active { "reload" } else { "start" }, SERVICE])).await?.well().map(drop)
}
