//! What a site promises.

mod demo;
mod harbour;
mod lowering;
mod mistakes;
mod resolution;
mod schemas;
