//! `config …`: what the site comes to, as JSON. Needs no daemon.

use homestak_coord::api::{Exit, Refusal};
use homestak_coord::site::Wanted;
use homestak_coord::site::hosts::Asked;
use homestak_coord::tokens::now_s;
use homestak_protocol::fault::Fault;
use serde::Serialize;
use serde_json::json;

use super::Outcome;
use super::args::{AnsibleVars, Config, ConfigHost, ConfigSpec, Tfvars};
use super::context::Context;

/// Who logs in to hosts of which nobody says so, where not even the environment does.
const LOGIN: &str = "root";

/// Prints what was asked for.
pub(super) fn run(context: &Context, given: &Config) -> Outcome {
    match given {
        Config::Tfvars(given) => tfvars(context, given),
        Config::AnsibleVars(given) => ansible_vars(context, given),
        Config::Spec(given) => spec(context, given),
        Config::Host(given) => host(context, given),
        Config::Show(_) => print(context, &context.site()?.shown(&login())),
    }
}

fn tfvars(context: &Context, given: &Tfvars) -> Outcome {
    let site = context.site()?;
    let wanted = Wanted {
        node: &given.node,
        name: given.name.clone(),
        vmid: given.vmid,
        preset: &given.preset,
        image: given.image.clone(),
        spec: given.spec.clone(),
    };
    print(context, &site.tofu_vars(wanted, &login(), now_s()).map_err(refused)?)
}

fn ansible_vars(context: &Context, given: &AnsibleVars) -> Outcome {
    let site = context.site()?;
    print(context, &site.ansible_vars(given.posture.as_ref(), given.env.as_ref()).map_err(refused)?)
}

fn spec(context: &Context, given: &ConfigSpec) -> Outcome {
    let site = context.site()?;
    print(context, &site.spec_document(&given.name, given.node.as_ref()).map_err(refused)?)
}

fn host(context: &Context, given: &ConfigHost) -> Outcome {
    let site = context.site()?;
    let Some(name) = &given.name else {
        let hosts = site.hosts();
        let hosts: Vec<_> =
            hosts.iter().filter_map(|host| site.host(Asked::parse(host.as_str()), &login()).ok()).collect();
        return print(context, &json!({ "hosts": hosts }));
    };
    let mut host = site.host(Asked::parse(name), &login()).map_err(refused)?;
    if given.show_secrets {
        host.api_token = host.api_token.in_clear();
    }
    print(context, &host)
}

/// JSON, with `--json` or without; without, for people to read too.
fn print(context: &Context, document: &impl Serialize) -> Outcome {
    let printer = &context.printer;
    if printer.json() {
        printer.document(document);
    } else {
        printer.raw(&(serde_json::to_string_pretty(document).unwrap_or_default() + "\n"));
    }
    Ok(Exit::Done)
}

fn login() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| LOGIN.into())
}

fn refused(fault: Fault) -> Refusal {
    Refusal::new(Exit::Configuration, &fault)
}
