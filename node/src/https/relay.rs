//! An agent's answers: those of its parent, over the link that it has anyway, and where nobody above answers, what it holds
//! itself.

use std::sync::Arc;

use axum::body::Bytes;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Fetch;

use super::program::OwnProgram;
use crate::runtime::Handle;
use crate::source::{Answering, Asker, Found, SpecSource, nobody_answers};
use crate::transport::uplink::Fetcher;

/// An agent's source.
pub struct Relay {
    above: Fetcher,
    core: Handle,
    program: Arc<OwnProgram>,
}

impl Relay {
    /// Asks `above` first, then this core. `program` is what an agent can give away of itself.
    pub fn new(above: Fetcher, core: Handle, program: OwnProgram) -> Self {
        Self { above, core, program: Arc::new(program) }
    }

    async fn answer(&self, what: Fetch) -> Result<Found, Fault> {
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
            Fetch::Specs | Fetch::Program { .. } => Err(nobody_answers()),
        }
    }
}

impl SpecSource for Relay {
    fn fetch(&self, _asker: Asker, what: Fetch) -> Answering<'_> {
        Box::pin(self.answer(what))
    }
}
