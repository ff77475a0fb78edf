//! What is done to a guest, as a value: so that it can be done again, word for word.

use homestak_node::crash::Side;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use tokio::task::JoinError;

use super::Host;
use super::api::{Form, Guest, GuestKind, Upid};
use super::record::{Deed, Record, Step};
use super::room::Held;
use super::task::{Undone, on_record};

/// A call that changes something.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    /// Makes a guest; what is held for it is held until PVE has answered.
    Create(GuestKind, Vmid, &'a Form, &'a Held),
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
    /// Sends it once, and gives the task that it begins, which is on record then.
    pub(super) async fn send(&self, record: &mut Record, call: Call<'_>) -> Result<Option<Upid>, Undone> {
        let begins = call.deed().map(|deed| (deed, deed.points().0));
        if let Some((_, point)) = begins {
            self.reach(point, Side::Before);
        }
        let api = &self.api;
        let answer = match call {
            Call::Create(kind, vmid, form, held) => {
                return self.create_to_its_answer(record, kind, vmid, form, held).await.map(Some);
            }
            Call::Configure(guest, form) => api.configure(guest, form).await.map(|()| None),
            Call::Resize(guest, disk, gib) => api.resize(guest, disk, gib).await,
            Call::Start(guest) => api.act(guest, "start", &Form::new()).await.map(Some),
            Call::Shutdown(guest, form) => api.act(guest, "shutdown", form).await.map(Some),
            Call::Stop(guest) => api.act(guest, "stop", &Form::new()).await.map(Some),
            Call::Destroy(guest, form) => api.remove(guest, form).await.map(Some),
        }?;
        if let Some((deed, point)) = begins {
            self.reach(point, Side::After);
            record.step = answer.clone().map(|upid| Step { deed, task: Some(upid) });
            if answer.is_some() {
                self.put(record)?;
            }
        }
        Ok(answer)
    }

    /// Creates a guest, and goes on to the answer whether somebody waits for it or not: nobody may go on as if there were no
    /// such guest while PVE is about to make it.
    async fn create_to_its_answer(
        &self,
        record: &mut Record,
        kind: GuestKind,
        vmid: Vmid,
        form: &Form,
        held: &Held,
    ) -> Result<Upid, Undone> {
        let (api, node, form, held) = (self.api.clone(), self.settings.node(), form.clone(), held.clone());
        let (records, mut begun) = (self.records.clone(), record.clone());
        let (crash, place) = (self.crash.clone(), self.place.clone());
        let creating = self.life.tracker.spawn(async move {
            let _held = held;
            let upid = api.create(&node, kind, vmid, &form).await?;
            crash.reach(Deed::Create.points().0, Side::After, &place);
            begun.step = Some(Step { deed: Deed::Create, task: Some(upid.clone()) });
            on_record(&records, &begun)?;
            Ok((begun, upid))
        });
        let internal = |error: JoinError| Err(Undone::Refused(Box::new(Fault::new(Code::Internal, error.to_string()))));
        let (begun, upid) = creating.await.unwrap_or_else(internal)?;
        *record = begun;
        Ok(upid)
    }
}
