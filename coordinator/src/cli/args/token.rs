//! The commands about provisioning tokens.

use clap::{Args, Subcommand};
use homestak_protocol::name::{NodeName, SiteName};

/// Mint a provisioning token, or look at one
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    after_long_help = "\
Examples:
  homestak-coord token mint edge base
  homestak-coord token inspect \"$HOMESTAK_TOKEN\" --verify
  homestak-coord token revoke edge"
)]
pub(crate) enum Token {
    Mint(Mint),
    Inspect(Inspect),
    Revoke(RevokeTokens),
}

/// Take every token away that a node was given up to now
///
/// Its certificate still counts: `agents revoke` takes that away.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord token revoke edge
  homestak-coord token revoke local/n2-tiered/root-pve/edge")]
pub(crate) struct RevokeTokens {
    /// The node, by its name or its place
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
}

/// Mint a token with which a node fetches a spec
///
/// It is signed with `auth.signing_key` of the site's secrets, or with the coordinator's own key where that is empty.
/// The token alone goes to stdout.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord token mint edge base
  homestak-coord token mint edge base --iat 1738800000")]
pub(crate) struct Mint {
    /// The node that may show it
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeName,

    /// The spec that it may fetch
    #[arg(value_name = "SPEC")]
    pub(crate) spec: SiteName,

    /// When it was minted, in seconds since 1970; now without it
    #[arg(long, value_name = "N")]
    pub(crate) iat: Option<u64>,
}

/// Show what a token says
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord token inspect \"$HOMESTAK_TOKEN\"
  homestak-coord token inspect \"$HOMESTAK_TOKEN\" --verify    exits with 3 if its signature is not this site's")]
pub(crate) struct Inspect {
    /// The token
    #[arg(value_name = "TOKEN")]
    pub(crate) token: String,

    /// Check its signature as well
    #[arg(long)]
    pub(crate) verify: bool,
}
