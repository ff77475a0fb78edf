//! What the site's files come to: for a node, for tofu, for ansible. Pure.

mod ansible;
mod machine;
mod spec;
mod tofu;

pub use self::ansible::AnsibleVars;
pub use self::machine::Machine;
pub use self::spec::SpecDocument;
pub use self::tofu::{TofuVars, Wanted};
