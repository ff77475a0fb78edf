//! Whose a guest is: the tag that says so, and the clear text beside it in the guest's description.

use std::collections::BTreeMap;

use homestak_protocol::ids::{Incarnation, RunId, SiteId};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::path::{NodePath, TreeId};

use super::api::{Config, Guest};
use crate::provider::{Identity, Tag};

/// How the tags begin by which a guest of any tree is known.
pub(super) const TAG: &str = "homestak-";
/// The prefix that Proxmox has for its network cards.
const OUI: &str = "BC:24:11";

/// What a description tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ownership {
    pub(super) identity: Identity,
    pub(super) incarnation: Incarnation,
    /// Whether that life began with its adoption.
    pub(super) adopted: bool,
}

impl Ownership {
    /// The description of a guest, one fact a line. The run is for people.
    pub(super) fn text(&self, run: RunId) -> String {
        let Identity { tree, path } = &self.identity;
        let adopted = if self.adopted { "adopted: yes\n" } else { "" };
        format!(
            "homestak: {path}\nsite: {}\nhost: {}\nmanifest: {}\nincarnation: {}\n{adopted}run: {run}\n",
            tree.site, tree.host, tree.manifest, self.incarnation
        )
    }

    /// Reads a description; none where it is not one of ours, or was changed.
    pub(super) fn read(text: &str) -> Option<Self> {
        let facts: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let fact = |key| facts.get(key).copied();
        let tree = TreeId {
            site: SiteId::parse(fact("site")?)?,
            host: HostName::parse(fact("host")?).ok()?,
            manifest: ManifestName::parse(fact("manifest")?).ok()?,
        };
        let path = NodePath::parse(fact("homestak")?).ok()?;
        let incarnation = Incarnation::parse(fact("incarnation")?)?;
        let adopted = fact("adopted").is_some();
        Some(Self { identity: Identity { tree, path }, incarnation, adopted })
    }

    /// What the guest's own configuration says: none where its tag and its description do not belong together.
    pub(super) fn of(guest: &Guest, config: &Config) -> Option<Self> {
        let ownership = Self::read(config.value("description")?)?;
        has_tag(guest, &ownership.identity.tag()).then_some(ownership)
    }
}

/// Whether the guest has this tag.
pub(super) fn has_tag(guest: &Guest, tag: &Tag) -> bool {
    guest.tags().any(|one| one == tag.as_str())
}

/// Whether the guest belongs to a tree, whichever.
pub(super) fn is_owned(guest: &Guest) -> bool {
    guest.tags().any(|tag| tag.starts_with(TAG))
}

/// The address of a machine's network card: the same for each of its lives, so that what a DHCP server has on record for
/// it stays true.
pub(super) fn mac(identity: &Identity) -> String {
    let tail: Vec<String> = identity.digest(0).iter().skip(6).take(3).map(|byte| format!("{byte:02X}")).collect();
    format!("{OUI}:{}", tail.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let tree = TreeId {
            site: SiteId::from_bits(7),
            host: HostName::parse("father").unwrap(),
            manifest: ManifestName::parse("n2-tiered").unwrap(),
        };
        Identity { tree, path: NodePath::parse("father/n2-tiered/root-pve").unwrap() }
    }

    #[test]
    fn a_description_tells_people_and_us_whose_a_guest_is() {
        let ownership = Ownership { identity: identity(), incarnation: Incarnation::from_bits(3), adopted: false };
        let text = ownership.text(RunId::from_bits(9));
        assert!(text.starts_with("homestak: father/n2-tiered/root-pve\nsite: 0000"), "{text}");
        let adopted = Ownership { adopted: true, ..ownership.clone() };
        assert_eq!(Ownership::read(&adopted.text(RunId::from_bits(9))), Some(adopted));
        assert_eq!(Ownership::read(&text), Some(ownership));
        assert_eq!(Ownership::read("somebody's machine"), None);
        assert_eq!(Ownership::read(&text.replace("site: 0", "site: x")), None);
    }

    #[test]
    fn a_network_card_is_proxmox_own_and_the_same_for_each_life() {
        let (one, other) = (mac(&identity()), mac(&identity()));
        assert_eq!(one, other);
        assert!(one.starts_with("BC:24:11:") && one.len() == 17, "{one}");
    }
}
