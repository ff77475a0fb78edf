//! Looking at machines whose agents are waited for: one task for each, from its start until its agent joins, which tells
//! the shell what it sees. It only looks: nothing that it sees changes what is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::path::{NodePath, TreeId};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;
use crate::world::{Glance, Task, World};

/// When it is looked first: most agents have joined by then, and nothing is asked.
const FIRST: Duration = Duration::from_secs(2);
/// How often it is looked: as soon as people want to know, and a hundred machines cost next to nothing.
const EVERY: Duration = Duration::from_secs(5);
/// How long one look may take. A guest agent that hangs makes PVE wait for three seconds.
const LIMIT: Duration = Duration::from_secs(10);

type Key = (TreeId, NodePath);

/// The machines that are looked at.
#[derive(Default)]
pub(super) struct Watches(BTreeMap<Key, CancellationToken>);

impl Watches {
    /// Looks at one from now on.
    pub(super) fn begin(
        &mut self,
        key: Key,
        world: Arc<dyn World>,
        life: &Lifecycle,
        tell: impl FnMut(Glance) + Send + 'static,
    ) {
        let cancel = life.ending.child_token();
        if let Some(before) = self.0.insert(key.clone(), cancel.clone()) {
            before.cancel();
        }
        life.tracker.spawn(keep(world, key, cancel, tell));
    }

    /// No longer looks at it.
    pub(super) fn end(&mut self, key: &Key) {
        if let Some(watch) = self.0.remove(key) {
            watch.cancel();
        }
    }
}

async fn keep(world: Arc<dyn World>, key: Key, cancel: CancellationToken, mut tell: impl FnMut(Glance)) {
    let (begun, mut pause) = (Instant::now(), FIRST);
    let (tree, path) = key;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(pause) => pause = EVERY,
        }
        let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
        let looked = timeout(LIMIT, world.glance(tree.clone(), path.clone(), begun, task));
        let looked = tokio::select! {
            () = cancel.cancelled() => return,
            looked = looked => looked,
        };
        match looked {
            Ok(Ok(Some(glance))) => tell(glance),
            Ok(Ok(None)) => {}
            Ok(Err(fault)) => tracing::debug!(%path, why = %fault.message, "nothing was seen"),
            Err(_) => tracing::debug!(%path, "looking took too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use homestak_protocol::ids::SiteId;
    use homestak_protocol::name::{HostName, ManifestName};
    use homestak_protocol::order::{Configuration, Own};
    use homestak_protocol::{event::Facts, fault::Fault};
    use tokio::sync::mpsc;

    use super::*;
    use crate::waiting::Layer;
    use crate::world::{Configured, Ensure, Ensured, NoWorld, Remove, Work};

    /// One whose first look hangs and whose second fails.
    struct Blinking(std::sync::atomic::AtomicU32);

    impl World for Blinking {
        fn glance(&self, _: TreeId, _: NodePath, _: Instant, _: Task) -> Work<'_, Option<Glance>> {
            let turn = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async move {
                match turn {
                    0 => std::future::pending().await,
                    1 => Err(Fault::new(homestak_protocol::fault::Code::Provision, "no")),
                    _ => Ok(Some(Glance { layer: Layer::Boot, text: "dark".into(), hint: None, ip: None })),
                }
            })
        }
        fn ensure(&self, ask: Ensure, task: Task) -> Work<'_, Ensured> {
            NoWorld.ensure(ask, task)
        }
        fn remove(&self, ask: Remove, task: Task) -> Work<'_, ()> {
            NoWorld.remove(ask, task)
        }
        fn become_host(&self, path: NodePath, own: Own, task: Task) -> Work<'_, ()> {
            NoWorld.become_host(path, own, task)
        }
        fn configure(&self, path: NodePath, what: Configuration, task: Task) -> Work<'_, Configured> {
            NoWorld.configure(path, what, task)
        }
        fn verify(&self, path: NodePath, own: Own, task: Task) -> Work<'_, ()> {
            NoWorld.verify(path, own, task)
        }
        fn facts(&self) -> Facts {
            Facts::default()
        }
        fn simulated(&self) -> bool {
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_again_whatever_came_of_the_last_look_until_nobody_wants_to_know() {
        let life = Lifecycle::new();
        let (told, mut heard) = mpsc::unbounded_channel();
        let tree = TreeId {
            site: SiteId::from_bits(1),
            host: HostName::parse("h").unwrap(),
            manifest: ManifestName::parse("m").unwrap(),
        };
        let key = (tree, NodePath::parse("h/m/n").unwrap());
        let mut watches = Watches::default();
        let world = Arc::new(Blinking(0.into()));
        watches.begin(key.clone(), world, &life, move |glance| drop(told.send(glance)));
        let begun = Instant::now();
        assert_eq!(heard.recv().await.unwrap().text, "dark");
        assert_eq!(begun.elapsed(), FIRST + LIMIT + EVERY * 2);
        watches.end(&key);
        while heard.recv().await.is_some() {}
        life.tracker.close();
        life.tracker.wait().await;
    }
}
