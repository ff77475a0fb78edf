//! The verbs that act on a tree: apply, destroy, test, and plan, which only looks.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use homestak_protocol::name::HostName;
use homestak_protocol::order::OnError;
use homestak_protocol::path::MAX_DEPTH;

use super::SourceArgs;
use super::span;

/// What every verb takes, so that a line turns from `plan` into `apply` by its verb alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// The host that carries the tree
    ///
    /// A host of the site (`config host` lists them), or `local`. A leading `USER@` is taken and means nothing here: agents
    /// are not reached by SSH.
    #[arg(short = 'H', long, value_name = "HOST", default_value = "local", value_parser = host)]
    pub(crate) host: HostName,

    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// What a failure means for the rest of the tree
    ///
    /// stop: start nothing new, leave what exists. rollback: destroy what this run created. continue: skip what lies
    /// below the failed node and go on. Without it, as the manifest says, else `stop`.
    #[arg(long, value_name = "MODE", value_parser = on_error())]
    pub(crate) on_error: Option<OnError>,

    /// How many machines of one host are worked on at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: Option<u16>,

    /// Only the first N levels of the tree
    #[arg(long, value_name = "N", value_parser = depth)]
    pub(crate) depth: Option<u32>,

    /// Cancel the run when it takes longer, e.g. `90s`, `5m`, `1h30m`
    #[arg(long, value_name = "DURATION", value_parser = span::parse)]
    pub(crate) timeout: Option<Duration>,

    /// Do not look whether the host is ready first; see `preflight`
    #[arg(long)]
    pub(crate) skip_preflight: bool,

    /// Leave the run to the daemon and return at once
    #[arg(long)]
    pub(crate) detach: bool,

    /// Remove recorded nodes that the manifest no longer names
    ///
    /// Without it `apply` keeps them and `plan` shows them as orphaned; `destroy` always removes them.
    #[arg(long)]
    pub(crate) prune: bool,
}

fn on_error() -> impl TypedValueParser<Value = OnError> {
    PossibleValuesParser::new(["stop", "rollback", "continue"]).map(|word| match word.as_str() {
        "rollback" => OnError::Rollback,
        "continue" => OnError::Continue,
        _ => OnError::Stop,
    })
}

fn depth(text: &str) -> Result<u32, String> {
    let most = u32::try_from(MAX_DEPTH).unwrap_or(u32::MAX);
    let levels = text.parse().ok().filter(|levels| (1..=most).contains(levels));
    levels.ok_or_else(|| format!("{text:?} is no number of levels between 1 and {MAX_DEPTH}"))
}

/// Build a tree, or bring it to what its manifest says
///
/// What exists and is as it should be is left alone, so applying twice changes nothing. Ctrl-C once cancels the run;
/// twice leaves it to the daemon. Exits with 0 if every node is completed, with 1 if one is not.
#[derive(Debug, Args)]
#[command(
    override_usage = "homestak-coord apply [OPTIONS] MANIFEST",
    after_long_help = "\
Examples:
  homestak-coord apply n2-tiered
  homestak-coord apply my-tree.yaml -H father --on-error rollback
  homestak-coord apply my-tree.yaml --prune --detach
  homestak-coord apply n2-tiered --json | jq .context"
)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Destroy a recorded tree, children first
///
/// Acts on the tree as it is recorded, so a renamed, edited or lost manifest is no obstacle. Asks first; the end of the
/// input means no. Destroying what is not recorded is no failure.
#[derive(Debug, Args)]
#[command(
    override_usage = "homestak-coord destroy [OPTIONS] MANIFEST",
    after_long_help = "\
Examples:
  homestak-coord destroy n2-tiered
  homestak-coord destroy n2-tiered -H father --yes
  homestak-coord destroy n2-tiered --dry-run"
)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Build a tree, check it, and destroy it again
///
/// Refuses if a node of it exists already, and destroys only what it made. After a failure the manifest's
/// `cleanup_on_failure` decides whether the rest is destroyed.
#[derive(Debug, Args)]
#[command(
    override_usage = "homestak-coord test [OPTIONS] MANIFEST",
    after_long_help = "\
Examples:
  homestak-coord test n2-tiered
  homestak-coord test my-tree.yaml -H father --keep
  homestak-coord test n1-push --json"
)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Leave the tree in place after success
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Show what apply would do
#[derive(Debug, Args)]
#[command(
    override_usage = "homestak-coord plan [OPTIONS] MANIFEST",
    after_long_help = "\
Examples:
  homestak-coord plan n2-tiered
  homestak-coord plan my-tree.yaml --prune
  homestak-coord plan my-tree.yaml --detailed-exitcode || echo there is something to do"
)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Exit with 5 if there is something to do
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// `[USER@]HOST`.
fn host(text: &str) -> Result<HostName, homestak_protocol::name::NameError> {
    HostName::parse(text.split_once('@').map_or(text, |(_, host)| host))
}
