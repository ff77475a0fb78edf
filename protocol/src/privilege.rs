//! What an agent needs of the Proxmox VE host that it runs on: a role, a user and an API token, by name, and the privileges
//! that our calls take.
//!
//! It stands here, below everything, because both sides have to mean the same: an agent grants it to itself where it makes
//! its machine a host, and a coordinator says what an operator has to grant by hand. Where calls come or go, so do lines of
//! the one list; the tests of the provider `pve` run with it and nothing more.

/// The role.
pub const ROLE: &str = "Homestak";
/// The user.
pub const USER: &str = "homestak@pve";
/// The token's name; its id is `USER!NAME`.
pub const TOKEN: &str = "agent";
/// The privilege to ask a guest's own agent: PVE 9 has split it off what PVE 8 calls `VM.Monitor`.
const ASK_GUESTS: &str = "VM.GuestAgent.Audit";
/// Its predecessor.
const ASK_GUESTS_8: &str = "VM.Monitor";

/// A privilege, as `pveum role add` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privilege {
    /// Its name on PVE 9.
    pub name: &'static str,
    /// What takes it.
    pub why: &'static str,
}

const fn privilege(name: &'static str, why: &'static str) -> Privilege {
    Privilege { name, why }
}

/// Everything that our calls take, and nothing else.
pub const PRIVILEGES: &[Privilege] = &[
    privilege("VM.Allocate", "making and destroying guests"),
    privilege("VM.Audit", "listing guests and reading their configuration"),
    privilege("VM.Config.CDROM", "the drive that cloud-init reads"),
    privilege("VM.Config.CPU", "processors"),
    privilege("VM.Config.Cloudinit", "user-data, meta-data and network configuration"),
    privilege("VM.Config.Disk", "disks, and making them larger"),
    privilege("VM.Config.HWType", "the serial device and the kind of disk controller"),
    privilege("VM.Config.Memory", "memory"),
    privilege("VM.Config.Network", "network cards"),
    privilege("VM.Config.Options", "name, tags, description, the guest agent, starting at boot"),
    privilege("VM.PowerMgmt", "starting and stopping"),
    privilege(ASK_GUESTS, "a guest's addresses, as its own agent tells them"),
    privilege("Datastore.AllocateSpace", "disks on a storage"),
    privilege("Datastore.Audit", "which storages there are, and what is on them"),
    privilege("SDN.Use", "guests on a bridge"),
    privilege("Sys.Audit", "tasks that run, and that the host is well"),
];

/// The names of all of them on a host of this major version.
pub fn names(major: u32) -> Vec<&'static str> {
    let name = |privilege: &Privilege| match privilege.name {
        ASK_GUESTS if major < 9 => ASK_GUESTS_8,
        name => name,
    };
    PRIVILEGES.iter().map(name).collect()
}

/// The token's id, as PVE writes it.
pub fn token_id() -> String {
    format!("{USER}!{TOKEN}")
}

/// What an operator types on a host of this major version who prepares it by hand.
pub fn by_hand(major: u32) -> [String; 5] {
    [
        format!("pveum role add {ROLE} --privs \"{}\"", names(major).join(" ")),
        format!("pveum user add {USER}"),
        format!("pveum user token add {USER} {TOKEN} --privsep 1"),
        format!("pveum acl modify / --users {USER} --roles {ROLE}"),
        format!("pveum acl modify / --tokens '{}' --roles {ROLE}", token_id()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_of_pve_8_does_not_know_is_not_asked_of_it() {
        let (eight, nine) = (names(8), names(9));
        assert!(eight.contains(&"VM.Monitor") && !eight.contains(&"VM.GuestAgent.Audit"));
        assert!(nine.contains(&"VM.GuestAgent.Audit") && !nine.contains(&"VM.Monitor"));
        assert_eq!(eight.len(), nine.len());
        let once: std::collections::BTreeSet<_> = nine.iter().collect();
        assert_eq!(once.len(), nine.len(), "none twice");
    }
}
