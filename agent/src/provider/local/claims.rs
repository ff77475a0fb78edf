//! Who has which id and address on this host, so that no two machines of ours share one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use homestak_protocol::order::CloudInit;

use crate::provider::{Identity, Tag};

/// How many addresses are tried. There are sixteen million, so the second try is already rare.
const ADDRESS_ATTEMPTS: u32 = 1000;

/// What a machine has for itself alone.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) identity: Identity,
    pub(super) vmid: Vmid,
    pub(super) ip: Ipv4Addr,
}

/// Every claim on this host.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<Tag, Claim>);

impl Claims {
    /// Puts a claim on record as it stands.
    pub(super) fn record(&mut self, tag: Tag, claim: Claim) {
        self.0.insert(tag, claim);
    }

    /// Gives up a machine's claim.
    pub(super) fn release(&mut self, tag: &Tag) {
        self.0.remove(tag);
    }

    /// Forgets machines that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&Tag) -> bool) {
        self.0.retain(|tag, _| exists(tag));
    }

    /// Finds an id and an address: those that are asked for, else the lowest free id and an address made from the
    /// identity. What another machine has is a conflict that names it.
    pub(super) fn claim(
        &mut self,
        tag: &Tag,
        identity: &Identity,
        vmid: Option<Vmid>,
        ip: Option<Ipv4Addr>,
    ) -> Result<Claim, Fault> {
        self.0.remove(tag);
        let vmid = match vmid {
            Some(vmid) => match self.0.values().find(|claim| claim.vmid == vmid) {
                Some(other) => return Err(conflict(identity, &format!("the vmid {vmid}"), other)),
                None => vmid,
            },
            None => self.lowest_free_vmid()?,
        };
        let ip = match ip {
            Some(ip) => match self.0.values().find(|claim| claim.ip == ip) {
                Some(other) => return Err(conflict(identity, &format!("the address {ip}"), other)),
                None => ip,
            },
            None => self.derived_address(identity)?,
        };
        let claim = Claim { identity: identity.clone(), vmid, ip };
        self.0.insert(tag.clone(), claim.clone());
        Ok(claim)
    }

    fn lowest_free_vmid(&self) -> Result<Vmid, Fault> {
        let mut taken: Vec<u32> = self.0.values().map(|claim| claim.vmid.number()).collect();
        taken.sort_unstable();
        let mut free = Vmid::MIN;
        for vmid in taken {
            if vmid == free {
                free += 1;
            }
        }
        Vmid::new(free).ok_or_else(|| Fault::new(Code::Full, "every vmid of this host is taken"))
    }

    /// An address out of 127.0.0.0/8, the same for the same identity unless somebody has it. Never in 127.0.0.0/16,
    /// where everybody's own services are.
    fn derived_address(&self, identity: &Identity) -> Result<Ipv4Addr, Fault> {
        (0..ADDRESS_ATTEMPTS)
            .map(|attempt| {
                let [a, b, c, ..] = identity.digest(attempt);
                Ipv4Addr::new(127, 1 + a % 254, b, 1 + c % 254)
            })
            .find(|ip| self.0.values().all(|claim| claim.ip != *ip))
            .ok_or_else(|| Fault::new(Code::Full, "no loopback address is left for a machine"))
    }
}

fn conflict(identity: &Identity, what: &str, other: &Claim) -> Fault {
    Fault::new(Code::Conflict, format!("{what} is that of {}", other.identity))
        .hint(format!("give {} another one, or destroy the tree {} first", identity.path.name(), other.identity.tree))
        .at(&identity.path)
}

/// The address that an order asks for, where it is one that this machine can have: a loopback address that is not among
/// those everybody uses. Others belong to networks that a simulated machine is not on.
pub(super) fn ordered_address(cloud_init: &CloudInit) -> Option<Ipv4Addr> {
    let text = cloud_init.address.as_deref()?;
    let ip: Ipv4Addr = text.split('/').next()?.parse().ok()?;
    let [first, second, third, _] = ip.octets();
    (first == 127 && (second, third) != (0, 0)).then_some(ip)
}

#[cfg(test)]
mod tests {
    use homestak_protocol::ids::SiteId;
    use homestak_protocol::name::{HostName, ManifestName};
    use homestak_protocol::path::{NodePath, TreeId};

    use super::*;

    fn identity(path: &str) -> Identity {
        let path = NodePath::parse(path).unwrap();
        let manifest = ManifestName::parse(path.manifest().unwrap()).unwrap();
        let tree = TreeId { site: SiteId::from_bits(7), host: HostName::local(), manifest };
        Identity { tree, path }
    }

    fn claim(claims: &mut Claims, path: &str, vmid: Option<u32>) -> Result<Claim, Fault> {
        let identity = identity(path);
        claims.claim(&identity.tag(), &identity, vmid.and_then(Vmid::new), None)
    }

    #[test]
    fn ids_are_given_out_from_100_and_gaps_are_filled() {
        let mut claims = Claims::default();
        let numbers: Vec<u32> = ["local/m/a", "local/m/b", "local/m/c"]
            .map(|path| claim(&mut claims, path, None).unwrap().vmid.number())
            .into();
        assert_eq!(numbers, [100, 101, 102]);
        claims.release(&identity("local/m/b").tag());
        assert_eq!(claim(&mut claims, "local/m/d", None).unwrap().vmid.number(), 101);
    }

    #[test]
    fn an_id_of_another_tree_is_a_conflict_that_names_it() {
        let mut claims = Claims::default();
        claim(&mut claims, "local/one/edge", Some(990)).unwrap();
        let fault = claim(&mut claims, "local/two/edge", Some(990)).unwrap_err();
        assert_eq!(fault.code, Code::Conflict);
        assert!(fault.message.contains("local/one/edge"), "{}", fault.message);
        claim(&mut claims, "local/one/edge", Some(990)).expect("its own is no conflict");
    }

    #[test]
    fn addresses_come_from_the_path_and_stay_off_the_common_ones() {
        let mut claims = Claims::default();
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..2000 {
            let ip = claim(&mut claims, &format!("local/m/n{n}"), None).unwrap().ip;
            let [first, second, ..] = ip.octets();
            assert!(first == 127 && second != 0 && seen.insert(ip));
        }
        let again = claim(&mut Claims::default(), "local/m/n7", None).unwrap().ip;
        assert!(seen.contains(&again), "the same path has the same address");
    }

    #[test]
    fn an_ordered_address_counts_where_a_process_can_have_it() {
        let ordered = |text: &str| {
            ordered_address(&CloudInit { address: Some(text.into()), ..CloudInit::default() }).map(|ip| ip.to_string())
        };
        assert_eq!(ordered("127.9.8.7/24").as_deref(), Some("127.9.8.7"));
        assert_eq!(ordered("192.0.2.7/24"), None);
        assert_eq!(ordered("127.0.0.1/8"), None);
    }
}
