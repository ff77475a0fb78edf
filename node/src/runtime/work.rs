//! Work, as the core asks for it and the world does it.

use homestak_protocol::fault::Fault;
use homestak_protocol::ids::RunId;
use homestak_protocol::path::{NodePath, TreeId};

use super::BootParts;
use crate::core::step::{Work, Worked};
use crate::world::{Ensure, Remove, Task, World};

/// Does it.
pub(super) async fn done(
    world: &dyn World,
    tree: &TreeId,
    path: NodePath,
    run: RunId,
    work: Work,
    boot: BootParts,
    task: Task,
) -> Result<Worked, Fault> {
    match work {
        Work::Ensure { run: _, incarnation, machine, cloud_init, token, extras } => {
            let boot = boot.with_token(token);
            let ask = Ensure {
                tree: tree.clone(),
                path,
                incarnation,
                run,
                machine: *machine,
                cloud_init: *cloud_init,
                boot,
                extras: *extras,
            };
            world.ensure(ask, task).await.map(Worked::Ensured)
        }
        Work::Remove { vmid, only } => {
            world.remove(Remove { tree: tree.clone(), path, vmid, only }, task).await.map(|()| Worked::Removed)
        }
        Work::BecomeHost(own) => world.become_host(path, *own, task).await.map(|()| Worked::Host),
        Work::Configure(configuration) => world.configure(path, *configuration, task).await.map(Worked::Configured),
        Work::Verify(own) => world.verify(path, *own, task).await.map(|()| Worked::Verified),
    }
}
