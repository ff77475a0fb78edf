//! The files of a site as typed values. Each kind of file has a module with what it says and how it is read: every value
//! parses or is reported with its place, and what is left out is none, never a made-up value.

mod address;
mod defaults;
mod env;
mod host;
mod images;
mod node;
mod posture;
mod preset;
mod spec;
mod take;
mod text;

use std::collections::BTreeSet;

use homestak_protocol::name::{HostName, SiteName};

pub(crate) use self::address::{Endpoint, Lease};
pub(crate) use self::defaults::Defaults;
pub(super) use self::env::Env;
pub(super) use self::host::Host;
pub(super) use self::node::Node;
pub(crate) use self::posture::Posture;
pub(super) use self::posture::{RootLogin, Switch};
pub(crate) use self::preset::Preset;
pub(super) use self::spec::SCHEMA_VERSION as SPEC_VERSION;
pub(super) use self::spec::{DEFAULT_POSTURE, Network, Platform, Run, SpecFile, User};
pub(super) use self::text::{Domain, Interface, Package, UserName};

/// What files of a site may refer to. What is not known, because the file that would say so cannot be read, is not checked.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) postures: BTreeSet<SiteName>,
    pub(super) hosts: BTreeSet<HostName>,
    pub(super) ssh_keys: Option<Vec<String>>,
    pub(super) api_tokens: Option<Vec<String>>,
    /// Whether the site has a datastore for nodes that name none; true where that is not known.
    pub(super) datastore: bool,
}
