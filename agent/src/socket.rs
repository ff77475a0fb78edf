//! `agent.sock`: where a running agent says how it stands. Whoever connects is told one JSON document, and that is all.
//!
//! The socket lies in the state folder and is for its owner alone. A path to it may be longer than a socket's name can be
//! (107 bytes, unix(7)), so it is reached through the open folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::files::FILE_MODE;

/// The socket's name in the state folder.
const NAME: &str = "agent.sock";
/// How long one side waits for the other. Both are on the same machine, and nothing is asked of a disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer: a tree of 10,000 nodes takes some 1.5 MB, and a host carries several.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Makes the socket. Whoever holds the state folder's lock may take the place of one that was left behind.
pub fn bind(state: &Path) -> io::Result<UnixListener> {
    remove(state)?;
    let folder = File::open(state)?;
    let listener = StdListener::bind(within(&folder))?;
    fs::set_permissions(state.join(NAME), Permissions::from_mode(FILE_MODE))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Takes the socket away, if there is one.
pub fn remove(state: &Path) -> io::Result<()> {
    match fs::remove_file(state.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Answers whoever connects, one after the other, until it is cancelled.
pub async fn serve<F, A>(listener: UnixListener, cancel: CancellationToken, answer: A)
where
    A: Fn() -> F,
    F: Future<Output = Value>,
{
    loop {
        let stream = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a question about how this agent stands cannot be taken");
                    // Out of file descriptors, most likely; those of others may be closed by then.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let text = answer().await.to_string();
        // Whoever asks and does not listen has only himself to blame.
        let _told = timeout(PATIENCE, tell(stream, text.as_bytes())).await;
    }
}

async fn tell(mut stream: UnixStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await
}

/// Asks the agent that runs in this state folder how it stands; none where there is none.
pub async fn ask(state: &Path) -> io::Result<Option<Value>> {
    let folder = match File::open(state) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let asked = async {
        let stream = UnixStream::connect(within(&folder)).await?;
        let mut text = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut text).await?;
        io::Result::Ok(text)
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(text)) => Ok(Some(serde_json::from_slice(&text)?)),
        Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A name for the socket that is short however deep the folder lies.
fn within(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_agent_deep_down_is_asked_like_any_other() {
        let top = tempfile::tempdir().unwrap();
        let deep = (0..8).fold(top.path().to_owned(), |path, _| path.join("machines/homestak-0123456789ab/state"));
        assert!(deep.as_os_str().len() > 250);
        assert_eq!(ask(&deep).await.unwrap(), None);
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(ask(&deep).await.unwrap(), None);
        let listener = bind(&deep).unwrap();
        drop(listener);
        assert_eq!(ask(&deep).await.unwrap(), None, "one that was left behind answers nobody");
        let listener = bind(&deep).unwrap();
        assert_eq!(fs::metadata(deep.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        let cancel = CancellationToken::new();
        let served = tokio::spawn(serve(listener, cancel.clone(), || async { json!({ "connected": true }) }));
        for _ in 0..3 {
            assert_eq!(ask(&deep).await.unwrap().unwrap(), json!({ "connected": true }));
        }
        cancel.cancel();
        served.await.unwrap();
    }
}
