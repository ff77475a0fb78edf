//! Links between real endpoints on the loopback, with a core on either side that answers as it was told.

mod enrolment;
mod fake;
mod golden;
mod hostile;
mod links;
mod log;
mod relay;
mod storm;
