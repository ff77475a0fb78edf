//! The world of an agent: machines through its provider, and its own machine's configuration.
//!
//! Which phase of which node a test wants to see fail is decided here, for every provider alike.

use std::path::PathBuf;
use std::sync::Arc;

use homestak_node::world::{Configured, Ensure, Ensured, Remove, Task, Work, World};
use homestak_protocol::event::{Facts, Phase};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::{Configuration, Own, Spec};
use homestak_protocol::path::NodePath;

use crate::config;
use crate::config::resource::{Difference, Target};
use crate::facts;
use crate::provider::local::faults::FaultPlan;
use crate::provider::local::inside::Inside;
use crate::provider::{Identity, Provider};

/// An agent's world.
pub struct AgentWorld {
    /// The agent's state folder.
    pub state: PathBuf,
    /// What makes machines; none on a leaf.
    pub provider: Option<Arc<dyn Provider>>,
    /// The machine of `local` that this agent runs in; none elsewhere.
    pub inside: Option<Inside>,
    /// What is to go wrong.
    pub faults: FaultPlan,
}

impl AgentWorld {
    fn provider(&self) -> Result<&Arc<dyn Provider>, Fault> {
        self.provider.as_ref().ok_or_else(|| {
            Fault::new(Code::Provision, "this agent makes no machines").hint("only nodes of the type pve carry others")
        })
    }

    /// Where this machine is configured.
    fn target(&self) -> Result<Target, Fault> {
        let inside = self
            .inside
            .as_ref()
            .ok_or_else(|| Fault::new(Code::Configure, "this host is no machine of a tree, so it is not configured"))?;
        Ok(Target { root: inside.root(), state: self.state.clone() })
    }

    async fn ensured(&self, ask: Ensure, task: Task) -> Result<Ensured, Fault> {
        self.faults.meet(&ask.path, Phase::Provision, &task.cancel).await?;
        let provider = self.provider()?;
        let machine = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
        if let Some(image) = ask.machine.image.clone() {
            provider.ensure_image(image, task.clone()).await?;
        }
        let ensured = provider.ensure_machine(ask, task.clone()).await?;
        provider.start(machine.clone(), task.clone()).await?;
        let addresses = provider.addresses(machine, task).await?;
        Ok(Ensured { ip: addresses.first().copied().or(ensured.ip), ..ensured })
    }

    async fn removed(&self, ask: Remove, task: Task) -> Result<(), Fault> {
        self.faults.meet(&ask.path, Phase::Destroy, &task.cancel).await?;
        let provider = self.provider()?;
        let machine = Identity { tree: ask.tree, path: ask.path };
        if let Some(only) = ask.only {
            let owned = provider.list_owned(task.clone()).await?;
            let mut other = owned.iter().filter(|one| one.path == machine.path && one.tree == machine.tree);
            if other.any(|one| one.incarnation != only) {
                let text = "the machine was there before this run, with another life, and is left alone";
                return Err(Fault::new(Code::Conflict, text).at(&machine.path));
            }
        }
        provider.stop(machine.clone(), task.clone()).await?;
        provider.destroy(machine, task).await
    }

    async fn hosted(&self, path: NodePath, task: Task) -> Result<(), Fault> {
        self.faults.meet(&path, Phase::Host, &task.cancel).await?;
        let target = self.target()?;
        let name = path.name().to_owned();
        let hosted = blocking(move || config::apply(&config::host_resources(&name), &target)).await?;
        hosted.map(drop).map_err(|error| Fault { code: Code::Host, ..Fault::from(error) })
    }

    async fn configured(&self, path: NodePath, what: Configuration, task: Task) -> Result<Configured, Fault> {
        self.faults.meet(&path, Phase::Configure, &task.cancel).await?;
        let Some(spec) = spec_of(what) else { return Ok(Configured::default()) };
        let target = self.target()?;
        let changed = blocking(move || config::apply_spec(&spec, path.name(), &target)).await??;
        Ok(Configured { changed })
    }

    async fn verified(&self, path: NodePath, own: Own, task: Task) -> Result<(), Fault> {
        self.faults.meet(&path, Phase::Verify, &task.cancel).await?;
        let mut wrong = facts_differ(&self.facts(), &path, &own);
        if let Some(spec) = spec_of(own.configuration) {
            let (target, node) = (self.target()?, path.name().to_owned());
            let found = blocking(move || {
                let parsed = config::parse(&spec)?;
                config::check(&config::spec_resources(&parsed, &node), &target)
            });
            let found = found.await??;
            wrong.extend(found.into_iter().map(|Difference { resource, what }| format!("{resource} {what}")));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Fault::new(Code::Verify, wrong.join("; ")).hint("apply the manifest again to put it right"))
    }
}

/// How a machine is not what it was ordered to be.
fn facts_differ(facts: &Facts, path: &NodePath, own: &Own) -> Vec<String> {
    let machine = &own.machine;
    let checks = [
        ("name", facts.hostname.clone(), path.name().to_owned()),
        ("processors", facts.cores.to_string(), machine.cores.to_string()),
        ("memory in MiB", facts.memory_mib.to_string(), machine.memory_mib.to_string()),
        ("disk in GiB", facts.disk_gib.to_string(), machine.disk_gib.to_string()),
    ];
    let wrong = checks.into_iter().filter(|(_, is, ordered)| is != ordered);
    wrong.map(|(what, is, ordered)| format!("{what}: {is}, ordered {ordered}")).collect()
}

/// What is to be applied. A spec that is to be fetched is the one that its parent holds for it.
fn spec_of(configuration: Configuration) -> Option<Spec> {
    match configuration {
        Configuration::Nothing => None,
        Configuration::Push(spec) | Configuration::Pull(spec) => Some(spec),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::new(Code::Internal, error.to_string()))
}

impl World for AgentWorld {
    fn ensure(&self, ask: Ensure, task: Task) -> Work<'_, Ensured> {
        Box::pin(self.ensured(ask, task))
    }

    fn remove(&self, ask: Remove, task: Task) -> Work<'_, ()> {
        Box::pin(self.removed(ask, task))
    }

    fn become_host(&self, path: NodePath, _own: Own, task: Task) -> Work<'_, ()> {
        Box::pin(self.hosted(path, task))
    }

    fn configure(&self, path: NodePath, configuration: Configuration, task: Task) -> Work<'_, Configured> {
        Box::pin(self.configured(path, configuration, task))
    }

    fn verify(&self, path: NodePath, own: Own, task: Task) -> Work<'_, ()> {
        Box::pin(self.verified(path, own, task))
    }

    fn facts(&self) -> Facts {
        match &self.provider {
            Some(provider) => provider.facts(),
            None => facts::gather(&self.state, self.inside.as_ref()),
        }
    }

    fn simulated(&self) -> bool {
        self.inside.is_some() || self.provider.as_ref().is_some_and(|provider| provider.simulated())
    }
}
