//! The site's secrets, against files and programs that are not ours.

#![cfg(test)]

mod commands;
mod fixtures;
mod stage;
mod tampered;
mod tools;
mod trees;
