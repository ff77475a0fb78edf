//! The world: the machines that exist, and the providers' work on them. Work looks first, takes its time, can fail, hang,
//! be given up, and die with the process that began it, with its effect done, not done, half done or still going on.

use std::collections::BTreeMap;

use homestak_node::core::step::{Input, Who, Work, Worked};
use homestak_node::world::{Configured, Ensured, Found};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, Incarnation, Vmid};
use homestak_protocol::order::{Configuration, NodeKind};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use crate::clock::Happening;
use crate::process::Pid;
use crate::sim::Sim;

pub(crate) type JobId = u64;
pub(crate) type MachineId = u32;

/// How a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is being made.
    Making,
    /// Whoever made it died in the middle.
    HalfMade,
    Running,
    /// It is being removed.
    Unmaking,
}

/// A machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: MachineId,
    pub(crate) incarnation: Incarnation,
    /// Whether that life began with its adoption.
    pub(crate) adopted: bool,
    pub(crate) vmid: Vmid,
    /// The generation of the work that made it.
    pub(crate) made_in: Generation,
    /// The generation of the work whose success its host has on disk first.
    pub(crate) reported_in: Option<Generation>,
    pub(crate) standing: Standing,
    /// Counts changes of its standing.
    stamp: u32,
    token: Secret,
    cores: u32,
    /// It can carry machines.
    pub(crate) is_host: bool,
    /// What was configured.
    pub(crate) configured: Option<Configuration>,
    process: Option<Pid>,
}

/// How a piece of work ends.
#[derive(Debug, Clone)]
enum Ending {
    Well,
    /// With this fault; `after` says whether what was wanted has been done all the same.
    Badly {
        fault: Fault,
        after: bool,
    },
    Never,
}

/// A piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pid: Pid,
    life: u32,
    tree: TreeId,
    who: Who,
    place: NodePath,
    generation: Generation,
    work: Work,
    ending: Ending,
    /// There was nothing when the provider looked.
    saw_nothing: bool,
    found: Found,
    adopted: bool,
    changed: bool,
    cancelled: bool,
}

/// What the providers' side holds.
#[derive(Clone, Default)]
pub(crate) struct World {
    machines: BTreeMap<NodePath, Vec<Machine>>,
    jobs: BTreeMap<JobId, Job>,
    numbered: u64,
    /// How many machines were made, removed and configured anew.
    pub(crate) made: u32,
    pub(crate) unmade: u32,
    pub(crate) reconfigured: u32,
    /// Where work was made to fail or hang, in the run that is on.
    pub(crate) injured: BTreeMap<NodePath, Vec<&'static str>>,
}

impl World {
    pub(crate) fn machine(&self, place: &NodePath) -> Option<&Machine> {
        self.machines.get(place).and_then(|machines| machines.first())
    }

    /// Whether the machine there was made with this life.
    pub(crate) fn began_with(&self, place: &NodePath, life: Incarnation) -> bool {
        self.machine(place).is_some_and(|machine| machine.incarnation == life && !machine.adopted)
    }

    fn machine_mut(&mut self, place: &NodePath) -> Option<&mut Machine> {
        self.machines.get_mut(place).and_then(|machines| machines.first_mut())
    }

    /// Every machine of a tree.
    pub(crate) fn of_tree<'a>(&'a self, tree: &'a TreeId) -> impl Iterator<Item = (&'a NodePath, &'a Machine)> {
        self.machines
            .iter()
            .filter(|(place, _)| tree.holds(place))
            .flat_map(|(place, machines)| machines.iter().map(move |machine| (place, machine)))
    }

    /// The machines strictly inside another.
    pub(crate) fn inside<'a>(&'a self, place: &'a NodePath) -> impl Iterator<Item = &'a NodePath> {
        self.machines.keys().filter(move |inner| *inner != place && inner.is_within(place))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    fn injure(&mut self, place: &NodePath, what: &'static str) {
        self.injured.entry(place.clone()).or_default().push(what);
    }
}

/// How a fault says that it was meant to be.
pub(crate) const MEANT: &str = "meant to be";

impl Sim {
    /// A process begins a piece of work.
    pub(crate) fn begin_job(&mut self, pid: Pid, tree: TreeId, who: Who, generation: Generation, work: Work) {
        let process = &self.processes[pid];
        let place = match &who {
            Who::Own => process.place.clone(),
            Who::Child(path) => path.clone(),
        };
        if process.jobs.contains_key(&(tree.clone(), who.clone())) {
            return self.broken(
                "one piece of work at a time for each machine",
                pid,
                format!("{} {place}", work.name()),
            );
        }
        self.watch_work(pid, &tree, &place, generation, &work);
        let ending = self.ending(&place, &work);
        let life = self.processes[pid].life;
        self.world.numbered += 1;
        let id = self.world.numbered;
        self.processes[pid].jobs.insert((tree.clone(), who.clone()), id);
        let job = Job {
            pid,
            life,
            tree,
            who,
            place,
            generation,
            work,
            ending,
            saw_nothing: false,
            found: Found::Unchanged,
            adopted: false,
            changed: false,
            cancelled: false,
        };
        self.world.jobs.insert(id, job);
        let pause = self.chance.between(1, 50);
        self.clock.after(pause, Happening::Look(id));
    }

    /// What fate has in store for it.
    fn ending(&mut self, place: &NodePath, work: &Work) -> Ending {
        let climate = self.fate.climate;
        let name = work.name();
        if self.doomed.as_ref().is_some_and(|doomed| doomed == place) && matches!(work, Work::Configure(_)) {
            self.world.injure(place, name);
            return Ending::Badly { fault: Fault::new(Code::Configure, format!("{MEANT}: {name}")), after: false };
        }
        if self.fate.strikes(climate.hang) {
            self.world.injure(place, name);
            return Ending::Never;
        }
        let for_now = self.fate.strikes(climate.fail);
        if !for_now && !self.fate.strikes(climate.fail_for_good) {
            return Ending::Well;
        }
        self.world.injure(place, name);
        let code = match work {
            Work::Ensure { .. } => Code::Provision,
            Work::Remove { .. } => Code::Destroy,
            Work::BecomeHost(_) => Code::Host,
            Work::Configure(_) => Code::Configure,
            Work::Verify(_) => Code::Verify,
        };
        let mut fault = Fault::new(code, format!("{MEANT}: {name}"));
        fault.retryable = for_now;
        Ending::Badly { fault, after: self.chance.mille(300) }
    }

    /// A provider looks what there is, and decides.
    pub(crate) fn look(&mut self, id: JobId) {
        let Some(job) = self.world.jobs.get(&id).cloned() else { return };
        let doing = self.chance.between(20, 2000);
        match &job.ending {
            Ending::Badly { after: false, .. } => return self.clock.after(doing, Happening::End(id)),
            Ending::Never if self.chance.mille(500) => return,
            _ => {}
        }
        let standing = self.world.machine(&job.place).map(|machine| machine.standing);
        if let Some(job) = self.world.jobs.get_mut(&id) {
            job.saw_nothing = standing.is_none();
        }
        match (&job.work, standing) {
            (Work::Ensure { .. } | Work::Remove { .. }, Some(Standing::Making | Standing::Unmaking)) => {
                // A task of an earlier life is on it: wait for that.
                self.clock.after(300, Happening::Look(id));
            }
            (Work::Remove { .. }, None) => self.clock.after(20, Happening::End(id)),
            (Work::Remove { only: Some(life), .. }, Some(_)) if !self.world.began_with(&job.place, *life) => {
                let fault = Fault::new(Code::Conflict, "it was there before");
                if let Some(job) = self.world.jobs.get_mut(&id) {
                    job.ending = Ending::Badly { fault, after: false };
                }
                self.clock.after(20, Happening::End(id));
            }
            _ => self.clock.after(doing / 4, Happening::Take(id)),
        }
    }

    /// A provider acts on what it has seen.
    pub(crate) fn take(&mut self, id: JobId) {
        let Some(job) = self.world.jobs.get(&id).cloned() else { return };
        let doing = self.chance.between(20, 2000);
        self.trace(job.pid, || format!("{} acts on {}", job.work.name(), job.place));
        match &job.work {
            Work::Ensure { .. } => self.take_ensure(id, &job, doing),
            Work::Remove { .. } => {
                let Some(machine) = self.world.machine_mut(&job.place) else {
                    return self.clock.after(1, Happening::End(id));
                };
                machine.standing = Standing::Unmaking;
                machine.stamp += 1;
                let happening = Happening::Unmade(job.place.clone(), machine.id, machine.stamp);
                self.clock.after(doing, happening);
                self.clock.after(doing + 5, Happening::End(id));
            }
            Work::BecomeHost(_) => {
                let is_host =
                    self.world.machine_mut(&job.place).map(|machine| std::mem::replace(&mut machine.is_host, true));
                if is_host == Some(false) && self.chance.mille(150) {
                    // It takes a reboot, once.
                    return self.crash(job.pid);
                }
                self.clock.after(doing, Happening::End(id));
            }
            Work::Configure(wanted) => {
                let Some(machine) = self.world.machine_mut(&job.place) else { return };
                let changed = machine.configured.as_ref() != Some(wanted);
                machine.configured = Some((**wanted).clone());
                self.world.reconfigured += u32::from(changed);
                if let Some(job) = self.world.jobs.get_mut(&id) {
                    job.changed = changed;
                }
                self.clock.after(doing, Happening::End(id));
            }
            Work::Verify(own) => {
                let holds = self.world.machine(&job.place).is_some_and(|machine| {
                    let configured = own.configuration == Configuration::Nothing
                        || machine.configured.as_ref() == Some(&own.configuration);
                    configured && (machine.is_host || own.machine.kind != NodeKind::Pve)
                });
                if !holds {
                    self.broken("a node is verified after it is configured", job.pid, job.place.to_string());
                }
                self.clock.after(doing, Happening::End(id));
            }
        }
        if self.world.jobs.get(&id).is_some_and(|job| matches!(job.ending, Ending::Never)) {
            self.trace(job.pid, || format!("{} hangs", job.work.name()));
        }
    }

    fn take_ensure(&mut self, id: JobId, job: &Job, doing: u64) {
        let Work::Ensure { incarnation, machine: wanted, token, .. } = &job.work else { return };
        let found = match self.world.machine_mut(&job.place).filter(|_| !job.saw_nothing) {
            Some(machine) if machine.standing == Standing::Running => {
                if machine.incarnation != *incarnation {
                    machine.incarnation = *incarnation;
                    machine.adopted = true;
                    machine.token = token.clone();
                    machine.cores = wanted.cores;
                    let process = machine.process;
                    self.reborn(process, token.clone());
                    Found::Adopted
                } else if machine.cores != wanted.cores {
                    machine.cores = wanted.cores;
                    Found::Updated
                } else {
                    Found::Unchanged
                }
            }
            Some(machine) if machine.standing == Standing::HalfMade => {
                machine.standing = Standing::Making;
                machine.stamp += 1;
                machine.incarnation = *incarnation;
                machine.adopted = false;
                machine.token = token.clone();
                machine.made_in = job.generation;
                let happening = Happening::Made(job.place.clone(), machine.id, machine.stamp);
                self.clock.after(doing, happening);
                Found::Created
            }
            // There was nothing when the provider looked, so that it makes one, whatever has come up meanwhile.
            _ => {
                self.world.numbered += 1;
                let number = u32::try_from(self.world.numbered).unwrap_or(u32::MAX);
                let machine = Machine {
                    id: number,
                    incarnation: *incarnation,
                    adopted: false,
                    vmid: Vmid::new(Vmid::MIN + number).unwrap(),
                    made_in: job.generation,
                    reported_in: None,
                    standing: Standing::Making,
                    stamp: 0,
                    token: token.clone(),
                    cores: wanted.cores,
                    is_host: false,
                    configured: None,
                    process: None,
                };
                self.clock.after(doing, Happening::Made(job.place.clone(), number, 0));
                self.world.made += 1;
                let machines = self.world.machines.entry(job.place.clone()).or_default();
                machines.push(machine);
                if machines.len() > 1 {
                    self.broken("no place has two machines", job.pid, job.place.to_string());
                }
                Found::Created
            }
        };
        let adopted = self.world.machine(&job.place).is_some_and(|machine| machine.adopted);
        if let Some(job) = self.world.jobs.get_mut(&id) {
            (job.found, job.adopted) = (found, adopted);
        }
        let wait = if found == Found::Created { doing + 5 } else { doing / 8 };
        self.clock.after(wait, Happening::End(id));
    }

    /// A machine was given another life: its agent starts anew with another token.
    fn reborn(&mut self, process: Option<Pid>, token: Secret) {
        let Some(pid) = process else { return };
        self.processes[pid].token = Some(token);
        self.processes[pid].grant = None;
        self.crash(pid);
    }

    /// A machine is there, and boots.
    pub(crate) fn made(&mut self, place: &NodePath, id: MachineId, stamp: u32) {
        let Some(machine) = self.world.machine_mut(place).filter(|m| m.id == id && m.stamp == stamp) else { return };
        if machine.standing != Standing::Making {
            return;
        }
        machine.standing = Standing::Running;
        let token = machine.token.clone();
        let pid = self.found(place.clone(), Some(token));
        if let Some(machine) = self.world.machine_mut(place) {
            machine.process = Some(pid);
        }
        let boots = self.chance.between(100, 3000);
        self.clock.after(boots, Happening::Power(pid, 0));
    }

    /// A machine is gone, with everything inside it.
    pub(crate) fn unmade(&mut self, place: &NodePath, id: MachineId, stamp: u32) {
        let Some(machine) = self.world.machine(place).filter(|m| m.id == id && m.stamp == stamp) else { return };
        if machine.standing == Standing::Unmaking {
            self.world.unmade += 1;
            self.erase(place);
        }
    }

    /// Takes a machine out of the world.
    pub(crate) fn erase(&mut self, place: &NodePath) {
        let within: Vec<_> = self.world.machines.keys().filter(|inner| inner.is_within(place)).cloned().collect();
        for inner in within {
            for machine in self.world.machines.remove(&inner).unwrap_or_default() {
                let Some(pid) = machine.process else { continue };
                self.processes[pid].dead = true;
                self.kill(pid);
                self.at.remove(&inner);
            }
        }
    }

    /// A piece of work ends.
    pub(crate) fn end(&mut self, id: JobId) {
        let Some(job) = self.world.jobs.get(&id) else { return };
        let result = match &job.ending {
            Ending::Never => return,
            Ending::Badly { fault, .. } => Err(fault.clone()),
            Ending::Well => Ok(self.result(job)),
        };
        self.finish_job(id, result);
    }

    fn result(&self, job: &Job) -> Worked {
        match &job.work {
            Work::Ensure { .. } => Worked::Ensured(Ensured {
                found: job.found,
                adopted: job.adopted,
                vmid: self.world.machine(&job.place).map(|machine| machine.vmid),
                ip: None,
            }),
            Work::Remove { .. } => Worked::Removed,
            Work::BecomeHost(_) => Worked::Host,
            Work::Configure(_) => Worked::Configured(Configured { changed: job.changed }),
            Work::Verify(_) => Worked::Verified,
        }
    }

    fn finish_job(&mut self, id: JobId, result: Result<Worked, Fault>) {
        let Some(job) = self.world.jobs.remove(&id) else { return };
        let process = &mut self.processes[job.pid];
        if process.life != job.life {
            return;
        }
        process.jobs.remove(&(job.tree.clone(), job.who.clone()));
        if let Ok(Worked::Ensured(_)) = &result {
            process.ensured.push((job.place.clone(), job.generation));
        }
        self.arrive(job.pid, Input::Worked { tree: job.tree, who: job.who, result });
    }

    /// The result is no longer wanted. Sometimes that comes too late.
    pub(crate) fn cancel_job(&mut self, pid: Pid, tree: TreeId, who: Who) {
        let Some(&id) = self.processes[pid].jobs.get(&(tree, who)) else { return };
        let too_late = self.chance.mille(250);
        let Some(job) = self.world.jobs.get_mut(&id) else { return };
        if job.cancelled || (too_late && !matches!(job.ending, Ending::Never)) {
            return;
        }
        job.cancelled = true;
        let pause = self.chance.between(1, 500);
        self.clock.after(pause, Happening::Quit(id));
    }

    pub(crate) fn quit(&mut self, id: JobId) {
        let Some(job) = self.world.jobs.get(&id) else { return };
        let place = job.place.clone();
        let touches = matches!(job.work, Work::Ensure { .. } | Work::Remove { .. });
        self.finish_job(id, Err(Fault::new(Code::Cancelled, "given up")));
        if touches {
            self.interrupt(&place);
        }
    }

    /// The process that began it has died.
    pub(crate) fn abandon(&mut self, id: JobId) {
        let Some(job) = self.world.jobs.remove(&id) else { return };
        if matches!(job.work, Work::Ensure { .. } | Work::Remove { .. }) {
            self.interrupt(&job.place);
        }
    }

    /// What was being done to a machine goes on without whoever began it, or stops where it is.
    fn interrupt(&mut self, place: &NodePath) {
        if self.chance.mille(500) {
            return;
        }
        let Some(machine) = self.world.machine_mut(place) else { return };
        machine.stamp += 1;
        match machine.standing {
            Standing::Making => machine.standing = Standing::HalfMade,
            Standing::Unmaking => machine.standing = Standing::Running,
            Standing::HalfMade | Standing::Running => machine.stamp -= 1,
        }
    }

    /// A host has it on disk that a machine is there.
    pub(crate) fn reported(&mut self, place: &NodePath, generation: Generation) {
        if let Some(machine) = self.world.machine_mut(place) {
            machine.reported_in.get_or_insert(generation);
        }
    }
}
