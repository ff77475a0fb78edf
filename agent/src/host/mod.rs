//! A machine becomes a Proxmox VE host that can carry machines of its own: a `pve` node after its agent has joined, before
//! it is configured.
//!
//! It is done by resources like those of a spec, one after the other, each looked at, put right and looked at again; what
//! holds already (an image that brings PVE, a host that somebody made by hand) is left alone. So the state of the machine
//! is the journal: an agent that dies anywhere goes on with the first thing that does not hold. Only what cannot be seen
//! afterwards is on record in the state folder: in which boots a restart was asked for ([`kernel`]), and what the network
//! was before it is changed ([`bridge`]). No tasks.
//!
//! - `hosts`, `repositories`, `packages` (and the `questions` that they ask), `kernel`, `bridge`, `storage`, `token`,
//!   `answers`: the steps.
//! - `step`: what all of them have in common; `release`: which Debian, which PVE; `tools`: how PVE's programs are asked.

mod answers;
mod bridge;
mod describe;
mod hosts;
mod kernel;
mod packages;
mod questions;
mod release;
mod repositories;
mod step;
mod storage;
mod token;
mod tools;

use std::path::Path;
use std::sync::Arc;

use homestak_node::crash::Plan;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::transport::uplink::Fetcher;
use homestak_node::transport::uplink::status::UplinkStatus;
use homestak_protocol::event::Facts;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::path::NodePath;
use tokio::sync::watch;

use self::answers::Answers;
use self::bridge::Bridge;
pub(crate) use self::bridge::put_bridge_back;
use self::hosts::OwnAddress;
use self::kernel::Kernel;
use self::packages::Wanted;
use self::release::pve_version;
use self::repositories::{NoEnterprise, Repositories};
use self::step::Step;
use self::storage::Contents;
use self::token::Token;
use crate::config::resource::Resource;
use crate::config::resources::nag::NoNag;
use crate::config::spec::NodeSpec;
use crate::config::{self, ConfigError, Deed, Target};
use crate::provider::pve::Api;
use crate::settings::PveSettings;

/// What is needed to make this machine a host.
pub(crate) struct Host {
    /// What `agent.yaml` says of it.
    pub(crate) pve: PveSettings,
    /// The link to the parent, which must not be lost for good.
    pub(crate) link: Link,
    /// Where to die.
    pub(crate) crash: Plan,
    /// What calls to PVE's API end with.
    pub(crate) life: Lifecycle,
}

/// The link to the parent, for whoever changes the network that it goes over.
#[derive(Clone)]
pub(crate) struct Link {
    /// How it stands.
    pub(crate) status: watch::Receiver<UplinkStatus>,
    /// Asks the parent something.
    pub(crate) fetcher: Fetcher,
}

/// What is known of this machine, with the Proxmox VE that it is.
pub(crate) fn facts(facts: Facts, state: &Path) -> Facts {
    match pve_version(&Target::here(state)) {
        Ok(Some(version)) => Facts { os: format!("Proxmox VE {version} on {}", facts.os), ..facts },
        _ => facts,
    }
}

impl Host {
    /// Makes the machine at this place a host; nothing is left to do where it is one.
    pub(crate) async fn become_one(
        &self,
        spec: Option<&NodeSpec>,
        place: &NodePath,
        target: &Target,
    ) -> Result<(), Fault> {
        let failed = |error: ConfigError| match Fault::from(error) {
            Fault { code: Code::Cancelled, .. } => Fault::new(Code::Cancelled, "becoming a host was cancelled"),
            fault => Fault { code: Code::Host, ..fault },
        };
        let _alone = config::alone(&target.state, &target.task.cancel).await.map_err(failed)?;
        let steps = self.steps(spec, place);
        let done = config::engine::run(&steps, target, Deed::Apply).await.map_err(|error| failed(error.into()))?;
        match done.fault() {
            Some(fault) => Err(Fault { code: Code::Host, ..fault }),
            None => kernel::forget(&target.state).map_err(|error| failed(error.into())),
        }
    }

    /// What makes a machine a host, in its order: each makes no sense without those before it.
    fn steps(&self, spec: Option<&NodeSpec>, place: &NodePath) -> Vec<Box<dyn Resource>> {
        let name = config::own_name(spec, place.name());
        let api = Api::new(self.pve.clone(), &self.life);
        let silent = spec.is_none_or(|spec| spec.config.pve.remove_subscription_nag);
        let whole = name.whole();
        let own = OwnAddress::of(&name, None);
        let own_on_bridge = OwnAddress::of(&name, Some(self.pve.bridge.clone()));
        let bridge = Bridge {
            name: self.pve.bridge.clone(),
            link: self.link.clone(),
            crash: self.crash.clone(),
            place: place.clone(),
        };
        let mut steps: Vec<Box<dyn Resource>> = vec![
            Box::new(name),
            Box::new(own),
            Box::new(Repositories(self.pve.repository.clone())),
            Box::new(Wanted::kernel(whole.clone())),
            Box::new(Kernel),
            Box::new(Wanted::host(whole)),
            Box::new(NoEnterprise),
        ];
        if silent {
            steps.push(Box::new(NoNag));
        }
        steps.push(Box::new(bridge));
        steps.push(Box::new(own_on_bridge));
        steps.push(Box::new(Contents {
            storage: self.pve.snippets_storage.clone(),
            folder: self.pve.snippets_dir.clone(),
        }));
        steps.push(Box::new(Token {
            source: self.pve.token.clone(),
            api: api.clone(),
            snippets: self.pve.snippets_storage.clone(),
        }));
        steps.push(Box::new(Answers(api)));
        let (crash, place) = (Arc::new(self.crash.clone()), Arc::new(place.clone()));
        Step::chain(steps, &crash, &place)
    }
}
