//! The daemon as a process: that it comes up, is one, speaks to programs of any build, keeps what must not be lost, and
//! ends. No agent is needed; where none lies beside the program, the daemon says so and goes on.

#![cfg(test)]

mod backup;
mod greeting;
mod life;
mod refusals;
mod stage;
