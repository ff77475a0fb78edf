//! Waiting for file descriptors that the runtime has no type of its own for: pidfds and inotify.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime say when there is something to read.
#[expect(
    deprecated,
    reason = "its successor is unsafe because a type may give up its descriptor early; an OwnedFd does not"
)]
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
