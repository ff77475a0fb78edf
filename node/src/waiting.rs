//! What a node waits for, while it is not ready: a layer, and a word about it.
//!
//! Neither is on the wire as such. The layer follows from the phase that a node is in; within `boot`, which holds several,
//! the word of progress begins with it: `cloud-init: its guest agent answers…`. A parent of any age shows that as it is.

use std::fmt;

use homestak_protocol::event::Phase;
use serde::{Deserialize, Serialize};

/// Where a node stands still: a phase, or what is told apart within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Its machine is made; on Proxmox VE, by a task.
    Provision,
    /// Its machine starts: firmware, kernel, services.
    Boot,
    /// Its system runs, and sets itself up for the first time.
    CloudInit,
    /// Its agent is to reach its parent, to prove who it is and to take its order.
    Joining,
    /// It becomes a host.
    Host,
    /// It applies its spec.
    Configure,
    /// It hands its children their orders.
    Forward,
    /// It is checked.
    Verify,
    /// Its machine is destroyed.
    Destroy,
}

impl Layer {
    /// Those that a machine goes through between its start and its joining.
    const OF_BOOT: [Layer; 3] = [Layer::Boot, Layer::CloudInit, Layer::Joining];

    /// The word that people and programs see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Provision => "provision",
            Layer::Boot => "boot",
            Layer::CloudInit => "cloud-init",
            Layer::Joining => "joining",
            Layer::Host => "host",
            Layer::Configure => "configure",
            Layer::Forward => "forward",
            Layer::Verify => "verify",
            Layer::Destroy => "destroy",
        }
    }

    /// The layer of a phase, and what of its word of progress is not the layer's name.
    pub fn of(phase: Phase, word: Option<&str>) -> (Self, Option<&str>) {
        let layer = match phase {
            Phase::Provision => Layer::Provision,
            Phase::Boot => {
                let told = word.and_then(|word| word.split_once(": "));
                let named = told.and_then(|(name, rest)| {
                    Self::OF_BOOT.into_iter().find(|layer| layer.as_str() == name).map(|layer| (layer, Some(rest)))
                });
                return named.unwrap_or((Layer::Boot, word));
            }
            Phase::Enrol => Layer::Joining,
            Phase::Host => Layer::Host,
            Phase::Configure => Layer::Configure,
            Phase::Forward => Layer::Forward,
            Phase::Verify => Layer::Verify,
            Phase::Destroy => Layer::Destroy,
        };
        (layer, word)
    }

    /// A word of progress of the phase `boot` that says its layer.
    pub fn say(self, text: &str) -> String {
        format!("{self}: {text}")
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_layer_is_read_as_that_layer() {
        for layer in Layer::OF_BOOT {
            assert_eq!(Layer::of(Phase::Boot, Some(&layer.say("a: b"))), (layer, Some("a: b")));
        }
        assert_eq!(Layer::of(Phase::Boot, Some("host: x")), (Layer::Boot, Some("host: x")));
        assert_eq!(Layer::of(Phase::Boot, None), (Layer::Boot, None));
        assert_eq!(Layer::of(Phase::Configure, Some("boot: x")), (Layer::Configure, Some("boot: x")));
    }
}
