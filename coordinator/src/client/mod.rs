//! The command line's way to the daemon: find the one of this state folder, start one where there is none, make an idle one
//! of another build give way. [`Client::open`] does all of it; [`find`], [`start`] and [`stop`] are for the commands about
//! the daemon itself.
//!
//! A daemon that is started here is this same program, run as `server run --mode on-demand` (or `background`) with the same
//! settings; see [`spawn`].

mod spawn;

use std::env;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::{self, Answer, BUILD, Document, Exit, Greeting, MAX_GREETING, MAX_LINE, Refusal, Request, WireError};
use crate::settings::{Settings, SiteChoice};
use crate::site::secrets::{Keys, may_need_identity};

pub(crate) use self::spawn::FirstWord;

/// The socket's name in the state folder.
pub const SOCKET: &str = "coord.sock";

/// How long a daemon may take to greet: it does so before anything else, so past this it is frozen, or the machine is as
/// good as.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

/// How long is waited for a hello of one that is to end anyway.
const HELLO_LIMIT: Duration = Duration::from_secs(1);

/// How long a daemon may take to end before it is killed.
const TERM_LIMIT: Duration = Duration::from_secs(5);

/// Where a daemon writes down which process it is.
pub(crate) const PID: &str = "coord.pid";

/// How long a daemon may take to end: it drains in under a second.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How long another command's daemon may take to come up.
const OTHERS_START: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const OTHERS_LOOK: Duration = Duration::from_millis(20);

/// How often a daemon that keeps ending is started for one command: once for each race with another command, and no more.
const STARTS: u32 = 3;

/// A connection to a daemon of this build that serves our site. One request each.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// What the daemon said of itself.
    pub greeting: Greeting,
    /// Whether it runs as this user, or as root.
    is_trusted: bool,
}

/// The answers to a request.
#[derive(Debug)]
pub struct Answers {
    reader: BufReader<OwnedReadHalf>,
    _writer: OwnedWriteHalf,
    over: bool,
}

/// What answers at the socket of a state folder.
#[derive(Debug)]
pub enum Found {
    /// Nobody.
    Nobody,
    /// A daemon of this build, serving our site or another one (see [`Greeting::site`]).
    Ours(Client),
    /// A daemon of another build, which understands nothing past its greeting.
    OtherBuild(Greeting),
}

impl Client {
    /// Connects, whatever it takes: starts a daemon, or replaces an idle one of another build.
    pub async fn open(settings: &Settings) -> Result<Self, Refusal> {
        let mut lent = false;
        for _ in 0..=STARTS {
            match find(settings).await? {
                Found::Ours(client) => {
                    let client = client.for_site(settings)?;
                    let keys = if lent { Keys::default() } else { client.to_lend(settings) };
                    if keys.is_empty() {
                        return Ok(client);
                    }
                    client.ask(&Request::Lend { keys }).await?.last().await?;
                    lent = true;
                    continue;
                }
                Found::OtherBuild(_) => make_way(settings).await?,
                Found::Nobody => {}
            }
            if let Err(refusal) = spawn::spawn(settings, Mode::OnDemand).await
                && !others_is_up(settings, &refusal).await?
            {
                return Err(refusal);
            }
        }
        let fault = Fault::new(Code::Internal, "the daemon ends as soon as it is started")
            .hint(format!("its log is {}", settings.log_file().display()));
        Err(Refusal::new(Exit::Unreachable, &fault))
    }

    /// Asks.
    pub async fn ask(mut self, request: &Request) -> Result<Answers, Refusal> {
        api::write_line(&mut self.writer, request).await.map_err(broken)?;
        Ok(Answers { reader: self.reader, _writer: self.writer, over: false })
    }

    /// The age identities that the site may need: those of this process's user, for a daemon of the same user or of root.
    fn to_lend(&self, settings: &Settings) -> Keys {
        match &settings.site {
            SiteChoice::Folder(dir) if self.is_trusted && may_need_identity(dir) => {
                Keys::of_user(|name| env::var_os(name)).0
            }
            _ => Keys::default(),
        }
    }

    fn for_site(self, settings: &Settings) -> Result<Self, Refusal> {
        let site = settings.site.label();
        if self.greeting.site == site {
            return Ok(self);
        }
        let message = format!(
            "the daemon of {} serves the site {}, not {site}",
            settings.state_dir.display(),
            self.greeting.site
        );
        let hint = "give the other site a state folder of its own with --state-dir, or end this daemon with `homestak-coord server stop`";
        Err(Refusal::new(Exit::Configuration, &Fault::new(Code::Busy, message).hint(hint)))
    }
}

impl Answers {
    /// The next answer; none after the last. A daemon that goes away before it is an error.
    pub async fn next(&mut self) -> Result<Option<Answer>, Refusal> {
        if self.over {
            return Ok(None);
        }
        let answer: Answer = api::read_line(&mut self.reader, MAX_LINE).await.map_err(broken)?.ok_or_else(|| {
            let fault = Fault::new(Code::Unreachable, "the daemon went away before it had answered")
                .hint("a run that had begun goes on; `homestak-coord runs` lists it");
            Refusal::new(Exit::Unreachable, &fault)
        })?;
        self.over = matches!(answer, Answer::Done { .. } | Answer::Refused(_));
        Ok(Some(answer))
    }

    /// The last answer, with those before it left out.
    pub async fn last(mut self) -> Result<(Exit, Document), Refusal> {
        while let Some(answer) = self.next().await? {
            match answer {
                Answer::Done { exit, document } => return Ok((exit, *document)),
                Answer::Refused(refusal) => return Err(refusal),
                _ => {}
            }
        }
        Ok((Exit::Done, Document::Empty))
    }
}

/// How a daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In the foreground: logs to stderr unless told otherwise, ends on a signal or on request.
    Foreground,
    /// Detached: says on stdout, in one line, that it is up or why not; logs to its file; ends on a signal or on request.
    Background,
    /// The same, and ends by itself when it has nothing left to look after.
    OnDemand,
}

impl Mode {
    /// As `server run --mode` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Foreground => "foreground",
            Mode::Background => "background",
            Mode::OnDemand => "on-demand",
        }
    }

    /// Parses what [`Mode::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        [Mode::Foreground, Mode::Background, Mode::OnDemand].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Looks who answers, and starts nobody.
pub async fn find(settings: &Settings) -> Result<Found, Refusal> {
    let ours = Greeting::new(&settings.state_dir.display().to_string(), &settings.site.label());
    let Some(client) = greet(settings, &ours).await? else { return Ok(Found::Nobody) };
    Ok(if client.greeting.build == BUILD { Found::Ours(client) } else { Found::OtherBuild(client.greeting) })
}

/// `server start`: a daemon that stays until it is stopped. One that a command had started stays from now on.
pub async fn start(settings: &Settings) -> Result<Greeting, Refusal> {
    let found = match find(settings).await {
        // As the older system did: one that is there and does not answer gives way.
        Err(refusal) if refusal.error.code == Code::Timeout.as_str() => {
            stop(settings).await?;
            Found::Nobody
        }
        found => found?,
    };
    match found {
        Found::Ours(client) => {
            let greeting = client.for_site(settings)?.greeting;
            Client::open(settings).await?.ask(&Request::StayUp).await?.last().await?;
            return Ok(greeting);
        }
        Found::OtherBuild(_) => make_way(settings).await?,
        Found::Nobody => {}
    }
    let greeting = spawn::spawn(settings, Mode::Background).await?;
    // It is told what its site needs.
    Client::open(settings).await?;
    Ok(greeting)
}

/// `server stop`: ends whoever serves this state folder, of whatever build, and waits until it has ended. Says whether
/// there was anybody.
pub async fn stop(settings: &Settings) -> Result<bool, Refusal> {
    // One that is frozen accepts nobody, but the kernel knows whose socket it is.
    let Some(stream) = connect(&settings.state_dir).await? else { return Ok(false) };
    let pid = peer(&stream).ok_or_else(|| unreachable("the kernel does not say which process the daemon is"))?;
    let tell = |signal| {
        kill_process(pid, signal).map_err(|source| {
            unreachable(format!("the daemon, process {}, cannot be told to end: {source}", pid.as_raw_nonzero()))
        })
    };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    // Whoever has said hello is held on to until the very end of the process.
    let ours = Greeting::new(&settings.state_dir.display().to_string(), &settings.site.label());
    let hello = async {
        api::write_line(&mut writer, &ours).await?;
        api::read_line::<Greeting>(&mut reader, MAX_GREETING).await
    };
    let _ = timeout(HELLO_LIMIT, hello).await;
    tell(Signal::TERM)?;
    let mut gone = ended(&mut reader, TERM_LIMIT).await;
    if !gone {
        tracing::warn!(pid = pid.as_raw_nonzero(), "the daemon does not end; it is killed");
        tell(Signal::KILL)?;
        gone = ended(&mut reader, STOP_LIMIT).await;
        // It can take nothing away itself any more; whoever serves the folder next replaces its socket.
        let _ = std::fs::remove_file(settings.state_dir.join(PID));
    }
    drop(writer);
    if gone { Ok(true) } else { Err(unreachable("the daemon was told to end and is still there").with_hint(settings)) }
}

/// Asks an idle daemon of another build to end, and waits until it has.
async fn make_way(settings: &Settings) -> Result<(), Refusal> {
    let mut ours = Greeting::new(&settings.state_dir.display().to_string(), &settings.site.label());
    ours.make_way = true;
    let Some(client) = greet(settings, &ours).await? else { return Ok(()) };
    let Client { mut reader, writer, greeting, .. } = client;
    if !greeting.making_way {
        let message = match greeting.busy.as_str() {
            "" => format!("the daemon (process {}) is of another build and does not give way", greeting.pid),
            busy => format!("the daemon (process {}) is of another build and busy with {busy}", greeting.pid),
        };
        let hint = "wait until it is idle, use the program that started it, or end it with `homestak-coord server stop`: runs go on below";
        return Err(Refusal::new(Exit::Unreachable, &Fault::new(Code::Version, message).hint(hint)));
    }
    let gone = ended(&mut reader, STOP_LIMIT).await;
    drop(writer);
    if gone { Ok(()) } else { Err(unreachable("the daemon gave way and is still there").with_hint(settings)) }
}

/// Whether the daemon that another command has started at the same moment, and that has the state folder, comes up.
async fn others_is_up(settings: &Settings, refusal: &Refusal) -> Result<bool, Refusal> {
    if refusal.error.code != Code::Busy.as_str() {
        return Ok(false);
    }
    let until = Instant::now() + OTHERS_START;
    while Instant::now() < until {
        if !matches!(find(settings).await?, Found::Nobody) {
            return Ok(true);
        }
        // There is nothing to wait on before its socket is there.
        sleep(OTHERS_LOOK).await;
    }
    Ok(false)
}

/// Waits until the other side's process has ended, which closes the connection.
async fn ended(reader: &mut BufReader<OwnedReadHalf>, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    let mut rest = [0; 1024];
    loop {
        match timeout_at(until, reader.read(&mut rest)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

/// Connects and exchanges greetings; none where nobody listens.
async fn greet(settings: &Settings, ours: &Greeting) -> Result<Option<Client>, Refusal> {
    let Some(stream) = connect(&settings.state_dir).await? else { return Ok(None) };
    let pid = peer(&stream);
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let is_trusted = uid.is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw());
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let exchange = async {
        api::write_line(&mut writer, ours).await?;
        api::read_line::<Greeting>(&mut reader, MAX_GREETING).await
    };
    match timeout(GREETING_LIMIT, exchange).await {
        Ok(Ok(Some(greeting))) if greeting.program == ours.program => {
            Ok(Some(Client { reader, writer, greeting, is_trusted }))
        }
        // It was about to end.
        Ok(Ok(None) | Err(WireError::Io(_))) => Ok(None),
        Ok(Ok(Some(_)) | Err(_)) => {
            Err(unreachable("something else than a homestak daemon answers at the socket").with_hint(settings))
        }
        Err(_) => Err(frozen(pid)),
    }
}

/// The process at the other end, as the kernel says.
fn peer(stream: &UnixStream) -> Option<Pid> {
    stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(Pid::from_raw)
}

/// A daemon that has the socket and does not take what comes.
fn frozen(pid: Option<Pid>) -> Refusal {
    let who = pid.map(|pid| format!(" (process {})", pid.as_raw_nonzero())).unwrap_or_default();
    let fault = Fault::new(Code::Timeout, format!("the daemon{who} is there but does not answer: it is frozen"))
        .hint("`homestak-coord server stop` ends it, and `server start` replaces it");
    Refusal::new(Exit::Unreachable, &fault)
}

/// Connects to the socket of a state folder. Its path may be longer than the kernel takes for a socket (107 bytes), so it is
/// reached through the folder's descriptor.
async fn connect(state_dir: &Path) -> Result<Option<UnixStream>, Refusal> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let denied = |source: std::io::Error| {
        let fault =
            Fault::new(Code::Unreachable, format!("the daemon of {} cannot be reached: {source}", state_dir.display()))
                .hint("whoever may use its state folder may use a daemon; choose one of your own with --state-dir");
        Refusal::new(Exit::Unreachable, &fault)
    };
    let folder = match File::open(state_dir) {
        Ok(folder) => folder,
        Err(source) if source.kind() == NotFound => return Ok(None),
        Err(source) => return Err(denied(source)),
    };
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(source) if matches!(source.kind(), NotFound | ConnectionRefused) => Ok(None),
        Err(source) => Err(denied(source)),
    }
}

fn broken(error: WireError) -> Refusal {
    use std::error::Error as _;
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    unreachable(format!("the daemon cannot be talked to: {error}{source}"))
}

fn unreachable(message: impl Into<String>) -> Refusal {
    let fault = Fault::new(Code::Unreachable, message).hint("`homestak-coord server status` says how the daemon is");
    Refusal::new(Exit::Unreachable, &fault)
}

impl Refusal {
    fn with_hint(mut self, settings: &Settings) -> Self {
        self.error.hint = Some(format!("its log is {}", settings.log_file().display()));
        self
    }
}
