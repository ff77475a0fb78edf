//! x
mod claims;
pub mod record;
