//! The unix socket: who may open it may do everything, so it is for the owner of the state folder alone.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::folder::{Folder, remove};
use super::{Daemon, answer, internal};
use crate::api::{self, Answer, BUILD, Greeting, MAX_GREETING, MAX_LINE, PROGRAM, Refusal, Request, WireError};
use crate::client::SOCKET;

/// Clients at once; those beyond wait in the listener's queue. Each may bring one line of a manifest's size.
const MAX_CLIENTS: usize = 128;

/// How long a client may take to say what it wants: it is a program on this machine that has just connected.
const ASKING_LIMIT: Duration = Duration::from_secs(10);

/// How many answers may wait for a client that reads slowly. Past this, whoever produces them waits.
const ANSWERS: usize = 256;

/// The pause after a connection could not be accepted, for want of descriptors most likely.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Begins to listen. Whoever holds the state folder may take the place of a socket that was left behind. Its path may be
/// longer than a socket's name can be (107 bytes, unix(7)), so it is made through the folder's descriptor.
pub(super) fn listen(daemon: &Daemon, folder: &Folder) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| internal("the socket cannot be made", &error);
    remove(&folder.path().join(SOCKET));
    let dir = File::open(folder.path()).map_err(failed)?;
    let listener = StdListener::bind(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())).map_err(failed)?;
    // The folder is closed to others, so nobody has come in between.
    fs::set_permissions(folder.path().join(SOCKET), Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    daemon.life.tracker.spawn(accept(daemon.clone(), listener));
    Ok(())
}

async fn accept(daemon: Daemon, listener: UnixListener) {
    let seats = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let next = async {
            let seat = Arc::clone(&seats).acquire_owned().await.map_err(std::io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            std::io::Result::Ok((seat, stream))
        };
        let accepted = tokio::select! {
            () = daemon.life.ending.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok((seat, stream)) => {
                let client = Counted::new(&daemon, seat);
                let daemon = daemon.clone();
                daemon.life.tracker.clone().spawn(async move {
                    if let Err(error) = converse(&daemon, stream).await {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a client's connection broke");
                    }
                    drop(client);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a client cannot be let in");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

/// A client, counted for as long as it is there.
struct Counted {
    clients: tokio::sync::watch::Sender<usize>,
    _seat: OwnedSemaphorePermit,
}

impl Counted {
    fn new(daemon: &Daemon, seat: OwnedSemaphorePermit) -> Self {
        daemon.clients.send_modify(|clients| *clients += 1);
        Self { clients: daemon.clients.clone(), _seat: seat }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.clients.send_modify(|clients| *clients = clients.saturating_sub(1));
    }
}

impl Daemon {
    /// What the daemon says of itself.
    pub(super) fn greeting(&self) -> Greeting {
        let site = self.settings.site.label();
        let busy: Vec<String> = self.engine.running().iter().map(|run| format!("run {run}")).collect();
        Greeting {
            pid: std::process::id().to_string(),
            busy: busy.join(", "),
            ..Greeting::new(&self.settings.state_dir.display().to_string(), &site)
        }
    }
}

/// A connection that is kept open until the process has ended: its closing tells the other side.
pub(super) type Held = (BufReader<OwnedReadHalf>, OwnedWriteHalf);

impl Daemon {
    /// Keeps a connection until the other side closes it, or until this process has ended.
    async fn hold(&self, mut reader: BufReader<OwnedReadHalf>, writer: OwnedWriteHalf) {
        let closed = async {
            let mut rest = [0; 64];
            while matches!(reader.read(&mut rest).await, Ok(1..)) {}
        };
        tokio::select! {
            () = closed => {}
            () = self.life.ending.cancelled() => {
                self.held.lock().unwrap_or_else(PoisonError::into_inner).push((reader, writer));
            }
        }
    }
}

/// One client: greetings, one request, its answers.
async fn converse(daemon: &Daemon, stream: UnixStream) -> Result<(), WireError> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let Ok(theirs) = timeout(ASKING_LIMIT, api::read_line::<Greeting>(&mut reader, MAX_GREETING)).await else {
        return Ok(());
    };
    let Some(theirs) = theirs?.filter(|theirs| theirs.program == PROGRAM) else { return Ok(()) };
    let mut ours = daemon.greeting();
    ours.making_way = theirs.make_way && ours.busy.is_empty();
    api::write_line(&mut writer, &ours).await?;
    if theirs.make_way {
        if ours.making_way {
            tracing::info!(build = %theirs.build, "making way for a daemon of another build");
            daemon.life.ending.cancel();
            daemon.hold(reader, writer).await;
        }
        return Ok(());
    }
    if theirs.build != BUILD {
        // It has been told; what it wants it cannot say in our words. It may want to see us end.
        daemon.hold(reader, writer).await;
        return Ok(());
    }
    let request = tokio::select! {
        () = daemon.life.ending.cancelled() => None,
        request = timeout(ASKING_LIMIT, api::read_line::<Request>(&mut reader, MAX_LINE)) => request.ok(),
    };
    let Some(request) = request else {
        // A client that says nothing waits for our end (`server stop`), or sleeps; neither needs an answer.
        daemon.hold(reader, writer).await;
        return Ok(());
    };
    let Some(request) = request? else { return Ok(()) };
    let (sink, mut answers) = mpsc::channel::<Answer>(ANSWERS);
    // Goes on if the client goes away: a run that is half begun would be worse than one that nobody follows.
    let answering = daemon.clone();
    daemon.life.tracker.spawn(async move { answer::answer(&answering, request, sink).await });
    let mut rest = [0; 64];
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(answer) => api::write_line(&mut writer, &answer).await?,
                None => return Ok(()),
            },
            read = reader.read(&mut rest) => if !matches!(read, Ok(1..)) { return Ok(()) },
        }
    }
}
