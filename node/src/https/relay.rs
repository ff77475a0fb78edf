//! An agent's answers: those of its parent, over the link that it has anyway, and where nobody above answers, what it holds
//! itself.

use std::sync::Arc;

use axum::body::Bytes;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Fetch;

use super::program::OwnProgram;
use crate::runtime::Handle;
use crate::source::{Answering, Asker, Found, Shelf, SpecSource, Stock, nobody_answers, not_theirs};
use crate::transport::uplink::Fetcher;

/// An agent's source.
pub struct Relay {
    above: Fetcher,
    core: Handle,
    program: Arc<OwnProgram>,
    shelf: Option<Arc<dyn Shelf>>,
}

impl Relay {
    /// Asks `above` first, then this core. `program` is what an agent can give away of itself, `shelf` what its host has
    /// of images.
    pub fn new(above: Fetcher, core: Handle, program: Arc<OwnProgram>, shelf: Option<Arc<dyn Shelf>>) -> Self {
        Self { above, core, program, shelf }
    }

    async fn answer(&self, asker: Asker, what: Fetch) -> Result<Found, Fault> {
        match (&asker, &what) {
            (Asker::Machine(path, key), Fetch::Own { .. }) if self.core.knows(path.clone(), *key).await? => {}
            (Asker::Child(place), Fetch::Own { path }) if path.is_within(place) => {}
            (_, Fetch::Own { .. }) => return Err(not_theirs()),
            _ => {}
        }
        if let (Some((stock, _)), Fetch::Image { have, .. } | Fetch::Template { have, .. }) =
            (Stock::asked(&what), &what)
        {
            let shelf = self.shelf.as_ref().filter(|_| matches!(asker, Asker::Child(_)));
            return match shelf {
                Some(shelf) => shelf.give(stock, have.clone()).await,
                None => Err(stock.absent()),
            };
        }
        if let Fetch::Program { arch, token } = &what
            && self.program.fits(arch)
            && self.core.gave(token.clone()).await?
        {
            return self.program.open().await;
        }
        match self.above.fetch(what.clone()).await {
            Err(fault) if fault.code == Code::Unreachable => {}
            answered => return answered,
        }
        match what {
            Fetch::Spec { identity, token } => {
                let spec = self.core.held_spec(identity, token).await?;
                tracing::info!(spec = %spec.name, "nobody above answers a pull; answering with the spec that came with the order");
                Ok(Found::Document(Bytes::from(spec.document)))
            }
            Fetch::Own { path } if matches!(asker, Asker::Machine(..)) => {
                let spec = self.core.to_pull(path).await?;
                Ok(Found::Document(Bytes::from(spec.document)))
            }
            Fetch::Own { .. } | Fetch::Specs | Fetch::Program { .. } | Fetch::Image { .. } | Fetch::Template { .. } => {
                Err(nobody_answers())
            }
        }
    }
}

impl SpecSource for Relay {
    fn fetch(&self, asker: Asker, what: Fetch) -> Answering<'_> {
        Box::pin(self.answer(asker, what))
    }
}
