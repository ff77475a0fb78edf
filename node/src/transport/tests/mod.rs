//! Links between real endpoints on the loopback, with a core on either side that answers as it was told.

mod fake;
mod golden;
