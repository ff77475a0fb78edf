//! The checks, in the order in which one thing needs another.

use homestak_protocol::event::Facts;

use super::{Api, Look, Seen};

/// A look at a host.
type Check = fn(&Seen<'_>) -> Look;

/// Memory free on a host below which no machine starts, in MiB.
const LITTLE_MEMORY_MIB: u64 = 1024;

/// Disk free on a host below which it is soon full, in GiB.
const LITTLE_DISK_GIB: u64 = 5;

/// Every check and its name.
pub(super) const ALL: &[(&str, Check)] = &[
    ("site", site),
    ("secrets", secrets),
    ("signing-key", signing_key),
    ("ssh-keys", ssh_keys),
    ("network", network),
    ("host", host),
    ("api-token", api_token),
    ("api", api),
    ("agent", agent),
    ("version", version),
    ("nested", nested),
    ("memory", memory),
    ("disk", disk),
];

const ON_LOCAL: &str = "machines of `local` are processes";

fn site(seen: &Seen<'_>) -> Look {
    if let Some(why) = &seen.broken {
        return Look::failed(why, "`homestak-coord site check` names every mistake");
    }
    match seen.site.warnings().len() {
        0 => Look::passed(seen.site.label()),
        1 => Look::warning(format!("{}, with a warning", seen.site.label()), "`homestak-coord site check` shows it"),
        n => {
            Look::warning(format!("{}, with {n} warnings", seen.site.label()), "`homestak-coord site check` shows them")
        }
    }
}

fn secrets(seen: &Seen<'_>) -> Look {
    match seen.site.secrets() {
        Ok(_) => Look::passed("they can be read"),
        Err(fault) => Look::failed(fault.message, fault.hint.unwrap_or_default()),
    }
}

fn signing_key(seen: &Seen<'_>) -> Look {
    match seen.site.signing_key() {
        Ok(Some(_)) => Look::passed("auth.signing_key of the site"),
        Ok(None) => Look::passed("one that the coordinator has drawn for itself"),
        Err(_) => Look::skipped("the secrets are locked"),
    }
}

fn ssh_keys(seen: &Seen<'_>) -> Look {
    match seen.site.secrets().map(|secrets| secrets.ssh_keys.len()) {
        Err(_) => Look::skipped("the secrets are locked"),
        Ok(_) if !seen.site.is_folder() => Look::skipped("the demo site has none"),
        Ok(0) => Look::warning("none", "nobody will get into the machines: add one to ssh_keys in the secrets"),
        Ok(1) => Look::passed("one"),
        Ok(n) => Look::passed(n.to_string()),
    }
}

fn network(seen: &Seen<'_>) -> Look {
    if seen.host.is_local() {
        return Look::skipped(ON_LOCAL);
    }
    let defaults = seen.site.defaults();
    let missing: Vec<&str> = [
        ("gateway", defaults.gateway.is_none()),
        ("dns_servers", defaults.dns_servers.is_empty()),
        ("domain", defaults.domain.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect();
    if missing.is_empty() {
        return Look::passed("gateway, dns_servers and domain are set");
    }
    let hint = "machines with DHCP need none of them; for others set them below `defaults` in site.yaml";
    Look::warning(format!("not set: {}", missing.join(", ")), hint)
}

fn host(seen: &Seen<'_>) -> Look {
    match &seen.config {
        None => Look::passed("this machine"),
        Some(Ok(config)) => Look::passed(config.config_file.clone()),
        Some(Err(_)) if !seen.site.is_folder() => Look::skipped("the demo site knows no hosts"),
        Some(Err(fault)) => Look::failed(fault.message.clone(), fault.hint.clone().unwrap_or_default()),
    }
}

fn api_token(seen: &Seen<'_>) -> Look {
    let Some(Ok(config)) = &seen.config else { return Look::skipped("the site says nothing of this host") };
    if config.is_host_only {
        return Look::skipped("it is no PVE node yet");
    }
    match config.api_token.secret() {
        // USER@REALM!NAME=SECRET, as PVE's Authorization header takes it.
        Some(token) if token.expose().contains('!') && token.expose().contains('=') => {
            Look::passed("there, in PVE's form")
        }
        Some(_) => Look::failed(
            "the secrets have one that is not in PVE's form",
            "write it as `USER@REALM!NAME=SECRET`, as `pveum user token add` shows it",
        ),
        None => Look::warning(
            "the secrets have none for it",
            format!("add one to api_tokens, or give it to the agent in its own settings; the host is {}", config.name),
        ),
    }
}

fn api(seen: &Seen<'_>) -> Look {
    match &seen.api {
        Api::NotAsked(why) => Look::skipped(*why),
        Api::Answers(at) => Look::passed(format!("{at} answers")),
        Api::Greets { at, version } => Look::passed(format!("{at} is Proxmox VE {version} and takes the token")),
        Api::Refuses(at) => Look::failed(
            format!("{at} does not take the token of {}", seen.host),
            "make a new one there with `pveum user token add USER@REALM NAME --privsep 0`, put it into api_tokens as \
             `USER@REALM!NAME=SECRET`, and remove the old one",
        ),
        // Only the host's own agent has to reach it.
        Api::Silent(why) => Look::warning(
            why.clone(),
            "is the host up, and `api_endpoint` right? Its own agent must reach it, not this machine",
        ),
    }
}

fn agent(seen: &Seen<'_>) -> Look {
    let (name, join) =
        (seen.host, format!("`homestak-coord agents join -H {}` prints the command to run there", seen.host));
    if let Some(trouble) = &seen.trouble {
        return Look::failed(trouble.message.clone(), trouble.hint.clone().unwrap_or_default());
    }
    match seen.linked {
        Some(true) => {
            let from = seen.presence.map(|presence| format!(" from {}", presence.address)).unwrap_or_default();
            Look::passed(format!("connected{from}"))
        }
        Some(false) => Look::failed(
            format!("there is no link to the agent of {name}"),
            "is homestak-agent running there, and can it reach this machine's UDP port?",
        ),
        None => Look::failed(format!("no agent of {name} has ever joined"), join),
    }
}

fn version(seen: &Seen<'_>) -> Look {
    match seen.presence {
        None => Look::skipped("there is no agent"),
        Some(presence) if presence.software == seen.version => Look::passed(presence.software.clone()),
        Some(presence) => Look::warning(
            format!("the agent is {}, the coordinator {}", presence.software, seen.version),
            "they understand each other as far as their protocols go; install the same on both when you can",
        ),
    }
}

fn nested(seen: &Seen<'_>) -> Look {
    on_host(seen, |facts| {
        if facts.nested {
            Look::passed("machines may carry machines")
        } else {
            let hint = "trees with PVE nodes that carry machines need it: load kvm_intel or kvm_amd with `nested=1`";
            Look::warning("machines may not carry machines", hint)
        }
    })
}

fn memory(seen: &Seen<'_>) -> Look {
    on_host(seen, |facts| {
        let shown =
            format!("{} MiB, {} of them free, and {} processors", facts.memory_mib, facts.memory_free_mib, facts.cores);
        if facts.memory_free_mib < LITTLE_MEMORY_MIB {
            return Look::warning(shown, "destroy what is no longer needed there");
        }
        Look::passed(shown)
    })
}

fn disk(seen: &Seen<'_>) -> Look {
    on_host(seen, |facts| {
        let shown = format!("{} GiB, {} of them free", facts.disk_gib, facts.disk_free_gib);
        if facts.disk_free_gib < LITTLE_DISK_GIB {
            return Look::warning(shown, "make room: an agent that cannot write does nothing at all");
        }
        Look::passed(shown)
    })
}

fn on_host(seen: &Seen<'_>, look: impl Fn(&Facts) -> Look) -> Look {
    match seen.presence {
        _ if seen.host.is_local() => Look::skipped(ON_LOCAL),
        None => Look::skipped("there is no agent"),
        Some(presence) => look(&presence.facts),
    }
}
