//! The commands that print what the site comes to.

use clap::{Args, Subcommand};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{NodeName, SiteName};

/// Print what the site comes to: for tofu, for ansible, for a node, for a host
///
/// Everything is JSON, and resolved: nothing refers to another file any more.
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    after_long_help = "\
Examples:
  homestak-coord config host                             the hosts that -H takes
  homestak-coord config host father                      one of them, with everything merged
  homestak-coord config spec base --node edge            the spec as the node edge gets it
  homestak-coord config show                             the whole site, secrets masked"
)]
pub(crate) enum Config {
    Tfvars(Tfvars),
    AnsibleVars(AnsibleVars),
    Spec(Spec),
    Host(Host),
    Show(Show),
}

/// Print tofu's variables for one machine
///
/// They hold the API token and root's password hash in the clear: tofu needs them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord config tfvars --node father --name test --preset vm-small --image debian-12
  homestak-coord config tfvars --node father --name edge --vmid 99021 --preset vm-small --spec base > edge.tfvars.json")]
pub(crate) struct Tfvars {
    /// The PVE node that makes it: a file in nodes/
    #[arg(long, value_name = "NODE")]
    pub(crate) node: String,

    /// The machine's name
    #[arg(long, value_name = "VM")]
    pub(crate) name: NodeName,

    /// Its id; PVE picks one without it
    #[arg(long, value_name = "N", value_parser = vmid)]
    pub(crate) vmid: Option<Vmid>,

    /// Its preset
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: SiteName,

    /// Its image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<SiteName>,

    /// Its spec: a token is minted if the site has a `server_url` too
    #[arg(long, value_name = "SPEC")]
    pub(crate) spec: Option<SiteName>,
}

/// Print ansible's variables: the site's defaults and a posture's
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord config ansible-vars --posture prod
  homestak-coord config ansible-vars --env staging > vars.json")]
pub(crate) struct AnsibleVars {
    /// The posture; else the environment's, else `dev`
    #[arg(long, value_name = "POSTURE")]
    pub(crate) posture: Option<SiteName>,

    /// The environment's name; else the posture's
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<SiteName>,
}

/// Print a spec as a node gets it
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord config spec base --node edge
  homestak-coord config spec base --node edge > spec.yaml    what `homestak-agent config apply --spec` takes")]
pub(crate) struct Spec {
    /// The spec's name
    #[arg(value_name = "NAME")]
    pub(crate) name: SiteName,

    /// The node's name, which becomes its host name; without it there is none
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeName>,
}

/// Print a host with everything merged, or list the hosts
///
/// `nodes/NAME.yaml` (a PVE node, reached by its API) comes before `hosts/NAME.yaml` (a machine that is none yet).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord config host
  homestak-coord config host father
  homestak-coord config host admin@father --show-secrets")]
pub(crate) struct Host {
    /// The host, as [USER@]NAME; all hosts without it
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Print the API token in the clear
    #[arg(long)]
    pub(crate) show_secrets: bool,
}

/// Print the whole site as it is read, secrets masked
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord config show
  homestak-coord config show --site ./site-config | jq .defaults")]
pub(crate) struct Show {}

fn vmid(text: &str) -> Result<Vmid, String> {
    let number = text.parse().ok().and_then(Vmid::new);
    number.ok_or_else(|| format!("a vmid is a number from {} to {}", Vmid::MIN, Vmid::MAX))
}
