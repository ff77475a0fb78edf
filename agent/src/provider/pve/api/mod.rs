//! PVE's REST API, as much of it as we call: `call` sends and reads, `guests`, `storages` and `tasks` are the calls, each
//! typed, `form` and `error` what all of them have in common.

mod call;
mod error;
mod form;
mod guests;
mod storages;
mod tasks;

pub(crate) use self::call::{ANSWER, Api, Greeting, token as token_of};
pub use self::error::{CallError, Class};
pub(crate) use self::form::{Form, encoded};
pub(crate) use self::guests::{Config, Guest, GuestKind, Power};
pub(crate) use self::storages::Storage;
pub(crate) use self::tasks::{LINES, Upid};
