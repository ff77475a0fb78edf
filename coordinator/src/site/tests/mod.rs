//! What a site promises.

mod demo;
mod harbour;
mod lowering;
mod mistakes;
mod reading;
mod resolution;
mod schemas;
