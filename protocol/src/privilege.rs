//! What an agent needs of the Proxmox VE host that it runs on: two roles, a user and an API token, by name, and the
//! privileges that our calls take.
//!
//! It stands here, below everything, because both sides have to mean the same: an agent grants it to itself where it makes
//! its machine a host, and a coordinator says what an operator has to grant by hand. Where calls come or go, so do lines of
//! the one list; the tests of the provider `pve` run with it and nothing more.

/// The role on everything.
pub const ROLE: &str = "Homestak";
/// The role on the storage of snippets alone.
pub const SNIPPETS_ROLE: &str = "HomestakSnippets";
/// The storage of snippets, unless an agent's settings name another.
pub const SNIPPETS: &str = "local";
/// The user.
pub const USER: &str = "homestak@pve";
/// The token's name; its id is `USER!NAME`.
pub const TOKEN: &str = "agent";
/// The privilege to ask a guest's own agent: PVE 9 has split it off what PVE 8 calls `VM.Monitor`.
const ASK_GUESTS: &str = "VM.GuestAgent.Audit";
/// Its predecessor.
const ASK_GUESTS_8: &str = "VM.Monitor";
/// How the privileges about storages begin.
const STORAGES: &str = "Datastore.";

/// What a privilege is granted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Everything.
    All,
    /// The storage of snippets, since elsewhere it would be too much.
    Snippets,
}

/// A privilege, as `pveum role add` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privilege {
    /// Its name on PVE 9.
    pub name: &'static str,
    /// What it is granted on.
    pub on: On,
    /// What takes it.
    pub why: &'static str,
}

const fn privilege(name: &'static str, on: On, why: &'static str) -> Privilege {
    Privilege { name, on, why }
}

/// Everything that our calls take, and nothing else.
pub const PRIVILEGES: &[Privilege] = &[
    privilege("VM.Allocate", On::All, "making and destroying guests"),
    privilege("VM.Audit", On::All, "listing guests and reading their configuration"),
    privilege("VM.Config.CDROM", On::All, "the drive that cloud-init reads"),
    privilege("VM.Config.CPU", On::All, "processors"),
    privilege("VM.Config.Cloudinit", On::All, "user-data, meta-data and network configuration"),
    privilege("VM.Config.Disk", On::All, "disks, and making them larger"),
    privilege("VM.Config.HWType", On::All, "the serial device and the kind of disk controller"),
    privilege("VM.Config.Memory", On::All, "memory"),
    privilege("VM.Config.Network", On::All, "network cards"),
    privilege("VM.Config.Options", On::All, "name, tags, description, the guest agent, starting at boot"),
    privilege("VM.PowerMgmt", On::All, "starting and stopping"),
    privilege(ASK_GUESTS, On::All, "a guest's addresses, as its own agent tells them"),
    privilege("Datastore.AllocateSpace", On::All, "disks on a storage"),
    privilege("Datastore.AllocateTemplate", On::All, "images that PVE fetches into a storage (`download-url`)"),
    privilege("Datastore.Audit", On::All, "which storages there are, and what is on them"),
    privilege("SDN.Use", On::All, "guests on a bridge"),
    privilege("Sys.AccessNetwork", On::All, "fetching images from where the site says (`download-url`)"),
    privilege("Sys.Audit", On::All, "tasks that run, and that the host is well"),
    // Whoever has it may delete what lies on a storage.
    privilege(
        "Datastore.Allocate",
        On::Snippets,
        "guests that read snippets (`cicustom`), as qemu-server of PVE 9 checks them",
    ),
];

/// A role, and what it is granted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role's name.
    pub role: &'static str,
    /// The path of what it is granted on, as `pveum acl modify` takes it.
    pub path: String,
    /// What it holds.
    pub privileges: Vec<&'static str>,
}

/// The roles on a host of this major version whose snippets lie in this storage.
///
/// What is granted on a path takes the place of what is granted above it (PVE's administration guide, "Inheritance"), so the
/// role on a storage holds all that is about storages.
pub fn grants(major: u32, snippets: &str) -> [Grant; 2] {
    let name = |privilege: &Privilege| match privilege.name {
        ASK_GUESTS if major < 9 => ASK_GUESTS_8,
        name => name,
    };
    let those = |wanted: fn(&Privilege) -> bool| PRIVILEGES.iter().filter(|one| wanted(one)).map(name).collect();
    [
        Grant { role: ROLE, path: "/".to_owned(), privileges: those(|one| one.on == On::All) },
        Grant {
            role: SNIPPETS_ROLE,
            path: format!("/storage/{snippets}"),
            privileges: those(|one| one.on == On::Snippets || one.name.starts_with(STORAGES)),
        },
    ]
}

/// The token's id, as PVE writes it.
pub fn token_id() -> String {
    format!("{USER}!{TOKEN}")
}

/// What an operator types on a host of this major version who prepares it by hand, its snippets being in this storage.
pub fn by_hand(major: u32, snippets: &str) -> Vec<String> {
    let grants = grants(major, snippets);
    let roles =
        grants.iter().map(|one| format!("pveum role add {} --privs \"{}\"", one.role, one.privileges.join(" ")));
    let who = [format!("pveum user add {USER}"), format!("pveum user token add {USER} {TOKEN} --privsep 1")];
    let acl = grants.iter().flat_map(|Grant { role, path, .. }| {
        [
            format!("pveum acl modify {path} --users {USER} --roles {role}"),
            format!("pveum acl modify {path} --tokens '{}' --roles {role}", token_id()),
        ]
    });
    roles.chain(who).chain(acl).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_of_pve_8_does_not_know_is_not_asked_of_it() {
        let [eight, nine] = [8, 9].map(|major| grants(major, "local")[0].privileges.clone());
        assert!(eight.contains(&"VM.Monitor") && !eight.contains(&"VM.GuestAgent.Audit"));
        assert!(nine.contains(&"VM.GuestAgent.Audit") && !nine.contains(&"VM.Monitor"));
        assert_eq!(eight.len(), nine.len());
        let once: std::collections::BTreeSet<_> = nine.iter().collect();
        assert_eq!(once.len(), nine.len(), "none twice");
    }

    #[test]
    fn deleting_what_others_have_is_granted_nowhere_but_where_snippets_are() {
        let [all, snippets] = grants(9, "shared");
        assert!(!all.privileges.contains(&"Datastore.Allocate"));
        assert_eq!((snippets.path.as_str(), snippets.role), ("/storage/shared", "HomestakSnippets"));
        let storages: Vec<&str> = all.privileges.into_iter().filter(|name| name.starts_with("Datastore.")).collect();
        let lost: Vec<&&str> = storages.iter().filter(|name| !snippets.privileges.contains(name)).collect();
        assert_eq!(lost, Vec::<&&str>::new(), "a grant on a path takes the place of the one above it");
        assert!(snippets.privileges.contains(&"Datastore.Allocate"));
    }
}
