//! The network as the kernel has it now, as ip(8) tells it.

use std::net::Ipv4Addr;

use serde::Deserialize;

use crate::config::command::Command;
use crate::config::resource::Differences;
use crate::config::spec;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

#[derive(Deserialize)]
struct Route {
    dev: Option<String>,
    gateway: Option<Ipv4Addr>,
    #[serde(default)]
    metric: u32,
}

#[derive(Deserialize)]
struct Device {
    ifname: String,
    #[serde(default)]
    link_type: String,
    #[serde(default)]
    addr_info: Vec<Address>,
    /// The bridge that it is a port of.
    master: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    local: Ipv4Addr,
    prefixlen: u8,
}

async fn ask<T: for<'a> Deserialize<'a> + Default>(target: &Target, about: &[&str]) -> Result<T, Trouble> {
    let text = target.run(Command::new("ip").args(["-json", "-4"]).args(about.iter().copied())).await?.well()?;
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    let unread = |error| Trouble::Tool { what: format!("what ip says cannot be read: {error}"), words: text.clone() };
    serde_json::from_str(&text).map_err(unread)
}

async fn routes(target: &Target) -> Result<Vec<Route>, Trouble> {
    let mut routes: Vec<Route> = ask(target, &["route", "show", "default"]).await?;
    routes.sort_by_key(|route| route.metric);
    Ok(routes)
}

/// The device that leads to everybody: the one of the default route, or the only one that there is.
pub(super) async fn device(target: &Target) -> Result<String, Trouble> {
    if let Some(device) = routes(target).await?.into_iter().find_map(|route| route.dev) {
        return Ok(device);
    }
    let text = target.run(Command::new("ip").args(["-json", "link", "show"])).await?.well()?;
    let all: Vec<Device> = serde_json::from_str(&text).unwrap_or_default();
    let ether = all.into_iter().filter(|device| device.link_type == "ether" && device.master.is_none());
    let mut names: Vec<String> = ether.map(|device| device.ifname).collect();
    match (names.pop(), names.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => Err(Trouble::refused("this machine has no device that an address could be for")),
        (Some(last), others) => {
            let what = format!(
                "which device the address is for cannot be told: none has the default route of {}, {last}",
                others.join(", ")
            );
            Err(Trouble::Refused { what, hint: Some("give one of them a default route, then apply again") })
        }
    }
}

/// Adds what a device lacks.
pub(super) async fn differs(
    target: &Target,
    device: &str,
    net: &spec::Network,
    found: &mut Differences,
) -> Result<(), Trouble> {
    let devices: Vec<Device> = ask(target, &["address", "show", "dev", device]).await?;
    let mut addresses = devices.iter().flat_map(|device| &device.addr_info);
    if !addresses.any(|address| (address.local, address.prefixlen) == (net.ip, net.prefix)) {
        found.add(format!("lacks the address {}", net.address()));
    }
    let leads = |route: &Route| route.gateway == Some(net.gateway) && route.dev.as_deref() == Some(device);
    if !routes(target).await?.iter().any(leads) {
        found.add(format!("lacks the route by {}", net.gateway));
    }
    Ok(())
}
