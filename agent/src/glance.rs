//! What a machine waits for whose agent has not joined, from what its host and our own door see of it.

use std::net::IpAddr;
use std::time::Duration;

use homestak_node::transport::hub::Callers;
use homestak_node::waiting::Layer;
use homestak_node::world::Glance;
use tokio::time::Instant;

use crate::provider::Sight;

/// How long a machine that has an address may take before it counts as strange that nothing comes from there. Its agent
/// starts with the network, and dials every few seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our own door, where machines' agents knock.
#[derive(Debug, Clone)]
pub struct Threshold {
    /// Who has knocked.
    pub callers: Callers,
    /// The UDP port.
    pub port: u16,
}

/// What it waits for that looks like this, `since` a while.
pub(crate) fn of(sight: &Sight, since: Instant, threshold: Option<&Threshold>) -> Glance {
    let noun = &sight.noun;
    let told = |layer: Layer, text: String, hint: Option<String>| Glance {
        layer,
        text: match &sight.complaint {
            Some(complaint) => format!("{text}; {complaint}"),
            None => text,
        },
        hint,
        ip: sight.addresses.first().copied(),
    };
    if sight.power != "running" {
        let hint = format!("its console says why it does not run; `apply` starts {noun} again");
        return told(Layer::Boot, format!("{noun} is {}", sight.power), Some(hint));
    }
    let heard = threshold.map(|threshold| threshold.callers.have_called(&sight.addresses, since));
    match (sight.answers, sight.addresses.as_slice(), heard) {
        (Some(false), ..) => {
            let hint = "look at its console: a guest agent that never answers is not in the image, or the system does not start";
            told(Layer::Boot, format!("{noun} runs, and its guest agent does not answer"), Some(hint.to_owned()))
        }
        (Some(true), [], _) => {
            let hint = "is there a DHCP server on its bridge, and is the bridge the right one?";
            let text = format!("the guest agent of {noun} answers, and it has no address yet");
            told(Layer::CloudInit, text, Some(hint.to_owned()))
        }
        (_, [], _) => told(Layer::Boot, format!("{noun} runs"), None),
        (_, [ip, ..], Some(true)) => {
            let hint = "the log of its agent says why it is turned away (`journalctl -u homestak-agent` there)";
            told(Layer::Joining, format!("{noun} has {ip} and knocks"), Some(hint.to_owned()))
        }
        (_, [ip, ..], Some(false)) if since.elapsed() >= PATIENCE => {
            let port = threshold.map(|threshold| threshold.port).unwrap_or_default();
            told(Layer::Joining, unheard(noun, *ip, port), Some(unreached(*ip, port)))
        }
        (_, [ip, ..], _) => told(Layer::CloudInit, format!("{noun} has {ip}, its agent has not knocked yet"), None),
    }
}

fn unheard(noun: &str, ip: IpAddr, port: u16) -> String {
    format!("{noun} has {ip}, and no packet from there has reached UDP port {port}")
}

fn unreached(ip: IpAddr, port: u16) -> String {
    format!(
        "check that {ip} and this host are on one VLAN or routed to each other, that no firewall drops UDP port {port}, and that homestak-agent runs there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(answers: Option<bool>, addresses: &[&str]) -> Sight {
        Sight {
            noun: "VM 99011".into(),
            power: "running".into(),
            answers,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            complaint: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_layer_is_told_by_what_answers_and_what_does_not() {
        let threshold = Threshold { callers: Callers::default(), port: 44443 };
        let begun = Instant::now();
        let layer = |sight: &Sight| of(sight, begun, Some(&threshold)).layer;
        let off = Sight { power: "stopped".into(), ..sight(None, &[]) };
        assert_eq!(layer(&off), Layer::Boot);
        assert_eq!(layer(&sight(Some(false), &[])), Layer::Boot);
        assert_eq!(layer(&sight(None, &[])), Layer::Boot);
        assert_eq!(layer(&sight(Some(true), &[])), Layer::CloudInit);
        let there = sight(Some(true), &["192.0.2.7"]);
        assert_eq!(layer(&there), Layer::CloudInit);
        tokio::time::advance(PATIENCE).await;
        let glance = of(&there, begun, Some(&threshold));
        assert_eq!(glance.layer, Layer::Joining);
        assert_eq!(glance.text, "VM 99011 has 192.0.2.7, and no packet from there has reached UDP port 44443");
        let hint = glance.hint.unwrap();
        assert!(["VLAN", "firewall", "UDP port 44443"].iter().all(|word| hint.contains(word)), "{hint}");
        assert_eq!(glance.ip, "192.0.2.7".parse().ok());
    }
}
