//! A step: a resource that makes no sense before the one in front of it holds, and at whose sides a test may let the
//! agent die.

use std::sync::Arc;

use homestak_node::crash::{Plan, Side};
use homestak_protocol::path::NodePath;

use crate::config::resource::{Difference, Resource, Step as Doing};
use crate::config::system::Target;

/// One of the steps by which a machine becomes a host.
pub(super) struct Step {
    inner: Box<dyn Resource>,
    after: Option<String>,
    crash: Arc<Plan>,
    place: Arc<NodePath>,
}

impl Step {
    /// Each after the one before it.
    pub(super) fn chain(
        steps: Vec<Box<dyn Resource>>,
        crash: &Arc<Plan>,
        place: &Arc<NodePath>,
    ) -> Vec<Box<dyn Resource>> {
        let mut last = None;
        let chained = steps.into_iter().map(|inner| {
            let after = last.replace(inner.name());
            let step = Self { inner, after, crash: Arc::clone(crash), place: Arc::clone(place) };
            Box::new(step) as Box<dyn Resource>
        });
        chained.collect()
    }

    /// The crash point of this step: `host.api-token`.
    fn point(&self) -> String {
        format!("host.{}", self.inner.name().replace(' ', "-"))
    }
}

impl Resource for Step {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn needs(&self) -> Vec<String> {
        self.after.iter().cloned().collect()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Doing<'a, Option<Difference>> {
        self.inner.check(target)
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Doing<'a, ()> {
        Box::pin(async move {
            self.crash.reach(&self.point(), Side::Before, &self.place);
            self.inner.apply(target).await?;
            self.crash.reach(&self.point(), Side::After, &self.place);
            Ok(())
        })
    }
}
