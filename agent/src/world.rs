//! The world of an agent: machines through its provider, and its own machine's configuration.
//!
//! Which phase of which node a test wants to see fail is decided here, for every provider alike.

use std::path::PathBuf;
use std::sync::Arc;

use homestak_node::world::{Configured, Ensure, Ensured, Glance, Owned, Remove, Task, Work, World};
use homestak_protocol::event::{Facts, Phase};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::{Differing, PveHost, Source, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::{Configuration, Own};
use homestak_protocol::path::{NodePath, TreeId};
use tokio::time::Instant;

use crate::config::pull::Parent;
use crate::config::spec::NodeSpec;
use crate::config::{self, Deed, Standing, System, Target};
use crate::facts;
use crate::glance::{self, Threshold};
use crate::host::Host;
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
    /// What makes this machine a host; none where it cannot be one, or is simulated.
    pub(crate) host: Option<Host>,
    /// Whom the spec is fetched from; none where this agent was told of nobody.
    pub parent: Option<Parent>,
    /// Where the parent is reached, `host:port` each.
    pub servers: Vec<String>,
    /// Where its machines' agents knock; none on a leaf.
    pub threshold: Option<Threshold>,
    /// What is to go wrong.
    pub faults: FaultPlan,
}

impl AgentWorld {
    fn provider(&self) -> Result<&Arc<dyn Provider>, Fault> {
        self.provider.as_ref().ok_or_else(|| {
            Fault::new(Code::Provision, "this agent makes no machines").hint("only nodes of the type pve carry others")
        })
    }

    /// Where this machine is configured: in its folder, where it is simulated.
    fn target(&self, path: &NodePath, task: Task) -> Result<Target, Fault> {
        let system = match &self.inside {
            Some(inside) => System::Folder(inside.root()),
            None if path.is_host() => {
                let text = "this host is no machine of a tree, so it is not configured";
                return Err(Fault::new(Code::Configure, text));
            }
            None if !rustix::process::geteuid().is_root() => {
                let fault = Fault::new(Code::Configure, "this agent does not run as root, so it can configure nothing");
                return Err(fault.hint("run it as the unit of `homestak-agent unit` does"));
            }
            None => System::Machine,
        };
        Ok(Target { system, state: self.state.clone(), parent: self.servers.clone(), task })
    }

    /// What is to be applied, as far as it is known before the parent is asked for it.
    fn wanted(&self, configuration: Configuration) -> Result<Option<NodeSpec>, Fault> {
        match configuration {
            Configuration::Push(spec) => Ok(Some(config::parse(&spec)?)),
            Configuration::Nothing | Configuration::Pull(_) => self.applied(configuration),
        }
    }

    /// What was applied; where nothing was, what the order has.
    fn applied(&self, configuration: Configuration) -> Result<Option<NodeSpec>, Fault> {
        let (Configuration::Push(spec) | Configuration::Pull(spec)) = configuration else { return Ok(None) };
        match config::marker::kept_spec(&self.state)? {
            Some(kept) => Ok(Some(kept)),
            None => Ok(Some(config::parse(&spec)?)),
        }
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
            if other.any(|one| one.incarnation != only || one.adopted) {
                let text = "the machine was there before this run and is left alone";
                return Err(Fault::new(Code::Conflict, text).at(&machine.path));
            }
        }
        provider.stop(machine.clone(), task.clone()).await?;
        provider.destroy(machine, task).await
    }

    async fn machines(&self, task: Task) -> Result<Vec<(TreeId, Owned)>, Fault> {
        let owned = self.provider()?.list_owned(task).await?;
        let seen = owned.into_iter().map(|machine| {
            let (vmid, running) = (Some(machine.vmid), machine.running);
            (machine.tree, Owned { path: machine.path, incarnation: machine.incarnation, vmid, running })
        });
        Ok(seen.collect())
    }

    async fn hosted(&self, path: NodePath, own: Own, task: Task) -> Result<(), Fault> {
        self.faults.meet(&path, Phase::Host, &task.cancel).await?;
        let spec = self.wanted(own.configuration)?;
        if let Some(host) = &self.host {
            if !host.pve.setup {
                return Ok(());
            }
            return host.become_one(spec.as_ref(), &path, &self.target(&path, task)?).await;
        }
        let target = self.target(&path, task)?;
        let failed = |fault: Fault| Fault { code: Code::Host, ..fault };
        let hosted =
            config::engine::run(&config::host_resources(spec.as_ref(), path.name()), &target, Deed::Apply).await;
        let report = hosted.map_err(|error| failed(config::ConfigError::from(error).into()))?;
        report.fault().map_or(Ok(()), |fault| Err(failed(fault)))
    }

    async fn configured(&self, path: NodePath, what: Configuration, task: Task) -> Result<Configured, Fault> {
        self.faults.meet(&path, Phase::Configure, &task.cancel).await?;
        let spec = match what {
            Configuration::Nothing => return Ok(Configured::default()),
            Configuration::Push(spec) => spec,
            Configuration::Pull(held) => match &self.parent {
                Some(parent) => parent.pull(held, path.name(), &self.state, &task).await?,
                None => held,
            },
        };
        let target = self.target(&path, task)?;
        let report = config::apply_order(&spec, path.name(), &target).await?;
        match report.fault() {
            None => Ok(Configured { changed: report.count(Standing::Changed) > 0 }),
            Some(fault) => Err(fault),
        }
    }

    /// How this machine is not what the spec that is kept says, a line for each difference.
    pub async fn deviations(&self, path: &NodePath, task: Task) -> Result<Vec<String>, Fault> {
        let Some(kept) = config::marker::kept_spec(&self.state)? else { return Ok(Vec::new()) };
        let target = self.target(path, task)?;
        Ok(config::look_again(&kept, path.name(), &target).await?.deviations())
    }

    async fn verified(&self, path: NodePath, own: Own, task: Task) -> Result<(), Fault> {
        self.faults.meet(&path, Phase::Verify, &task.cancel).await?;
        let mut wrong = facts_differ(&self.facts(), &path, &own, self.inside.is_some());
        if let Some(spec) = self.applied(own.configuration)? {
            let target = self.target(&path, task)?;
            let report = config::check_spec(&spec, path.name(), &target).await?;
            wrong.extend(report.differences());
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Fault::new(Code::Verify, wrong.join("; ")).hint("apply the manifest again to put it right"))
    }
}

/// How a machine is not what it was ordered to be. One of `local` says of itself what it was ordered to be; on a real one
/// the kernel keeps some of the memory, and the file system some of the disk, to itself.
fn facts_differ(facts: &Facts, path: &NodePath, own: &Own, exactly: bool) -> Vec<String> {
    let machine = &own.machine;
    let is_near = |is: u64, ordered: u64| if exactly { is == ordered } else { is >= ordered / 4 * 3 };
    let checks = [
        ("name", facts.hostname.clone(), path.name().to_owned(), facts.hostname == path.name()),
        ("processors", facts.cores.to_string(), machine.cores.to_string(), facts.cores == machine.cores),
        (
            "memory in MiB",
            facts.memory_mib.to_string(),
            machine.memory_mib.to_string(),
            is_near(facts.memory_mib, machine.memory_mib),
        ),
        (
            "disk in GiB",
            facts.disk_gib.to_string(),
            machine.disk_gib.to_string(),
            is_near(facts.disk_gib, machine.disk_gib),
        ),
    ];
    let wrong = checks.into_iter().filter(|(_, _, _, right)| !right);
    wrong.map(|(what, is, ordered, _)| format!("{what}: {is}, ordered {ordered}")).collect()
}

impl World for AgentWorld {
    fn ensure(&self, ask: Ensure, task: Task) -> Work<'_, Ensured> {
        Box::pin(self.ensured(ask, task))
    }

    fn remove(&self, ask: Remove, task: Task) -> Work<'_, ()> {
        Box::pin(self.removed(ask, task))
    }

    fn owned(&self, tree: TreeId, task: Task) -> Work<'_, Vec<Owned>> {
        Box::pin(async move {
            let all = self.machines(task).await?;
            Ok(all.into_iter().filter(|(of, _)| *of == tree).map(|(_, machine)| machine).collect())
        })
    }

    fn inventory(&self, task: Task) -> Work<'_, Vec<(TreeId, Owned)>> {
        Box::pin(self.machines(task))
    }

    fn sources(&self, images: Vec<SiteName>, task: Task) -> Work<'_, Vec<Source>> {
        Box::pin(async move { self.provider()?.sources(images, task).await })
    }

    fn compare(&self, tree: TreeId, wanted: Vec<Wanted>, task: Task) -> Work<'_, Vec<Differing>> {
        Box::pin(async move { self.provider()?.compare(tree, wanted, task).await })
    }

    fn glance(&self, tree: TreeId, path: NodePath, since: Instant, task: Task) -> Work<'_, Option<Glance>> {
        Box::pin(async move {
            let sight = self.provider()?.sight(Identity { tree, path }, task).await?;
            Ok(sight.map(|sight| glance::of(&sight, since, self.threshold.as_ref())))
        })
    }

    fn become_host(&self, path: NodePath, own: Own, task: Task) -> Work<'_, ()> {
        Box::pin(self.hosted(path, own, task))
    }

    fn describe(&self, task: Task) -> Work<'_, PveHost> {
        Box::pin(async move {
            let Some(host) = &self.host else {
                let fault = Fault::new(Code::NotFound, "this machine is no Proxmox VE host");
                return Err(fault.hint("only agents with the provider pve describe their host"));
            };
            host.describe(&Target { task, ..Target::here(&self.state) }).await
        })
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
