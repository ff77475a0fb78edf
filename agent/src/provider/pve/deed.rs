//! What is done to a guest, as a value: so that it can be done again, word for word.

use homestak_protocol::ids::Vmid;

use super::Host;
use super::api::{CallError, Form, Guest, GuestKind, Upid};
use super::record::Deed;

/// A call that changes something.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    /// Makes a guest.
    Create(GuestKind, Vmid, &'a Form),
    /// Changes its configuration; PVE does that before it answers.
    Configure(&'a Guest, &'a Form),
    /// Grows one of its disks to so many GiB.
    Resize(&'a Guest, &'static str, u64),
    /// Starts it.
    Start(&'a Guest),
    /// Asks it to end.
    Shutdown(&'a Guest, &'a Form),
    /// Ends it.
    Stop(&'a Guest),
    /// Removes it.
    Destroy(&'a Guest, &'a Form),
}

impl Call<'_> {
    /// What goes on record before it is sent; nothing where PVE is done when it answers.
    pub(super) const fn deed(&self) -> Option<Deed> {
        match self {
            Call::Create(..) => Some(Deed::Create),
            Call::Configure(..) => None,
            Call::Resize(..) => Some(Deed::Resize),
            Call::Start(_) => Some(Deed::Start),
            Call::Shutdown(..) => Some(Deed::Shutdown),
            Call::Stop(_) => Some(Deed::Stop),
            Call::Destroy(..) => Some(Deed::Destroy),
        }
    }
}

impl Host {
    /// Sends it once, and gives the task that it begins.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Option<Upid>, CallError> {
        let api = &self.api;
        match call {
            Call::Create(kind, vmid, form) => api.create(&self.settings.node(), kind, vmid, form).await.map(Some),
            Call::Configure(guest, form) => api.configure(guest, form).await.map(|()| None),
            Call::Resize(guest, disk, gib) => api.resize(guest, disk, gib).await,
            Call::Start(guest) => api.act(guest, "start", &Form::new()).await.map(Some),
            Call::Shutdown(guest, form) => api.act(guest, "shutdown", form).await.map(Some),
            Call::Stop(guest) => api.act(guest, "stop", &Form::new()).await.map(Some),
            Call::Destroy(guest, form) => api.remove(guest, form).await.map(Some),
        }
    }
}
