//! Programs: run without a shell's eyes on their arguments, in a process group of their own, with a limit, in English.
//!
//! Each is waited for by whoever runs it. One that is cancelled or late is asked to end with its whole group, and killed if
//! it does not.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;

/// How long a program may take that is not told otherwise.
const LIMIT: Duration = Duration::from_secs(60);
/// How long one that was asked to end may take: dpkg brings a package that it has begun with to a good end.
const ENDING: Duration = Duration::from_secs(15);
/// How many lines of what it printed last are kept, for people.
const TAIL_LINES: usize = 20;
/// How long one of these may be.
const MAX_LINE: usize = 400;
/// How much of its standard output is kept, for the caller.
const MAX_OUTPUT: usize = 1024 * 1024;
/// What this process masks is not what programs should: theirs are the machine's files.
const PLAIN: [&str; 3] = ["/bin/sh", "-c", "umask 022; exec \"$0\" \"$@\""];
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hears each line as it is printed.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// A program with its arguments.
#[derive(Clone)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    limit: Duration,
    listener: Option<Listener>,
}

/// What a program came to.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// The last lines of both its outputs.
    pub words: String,
    what: String,
}

impl Output {
    /// The output of a program that ended well; its last words, if it did not.
    pub fn well(self) -> Result<String, Trouble> {
        match self.code {
            Some(0) => Ok(self.stdout),
            _ => Err(self.trouble()),
        }
    }

    /// That it failed, in its own last words.
    pub fn trouble(&self) -> Trouble {
        let how = self.code.map_or_else(|| "was ended by a signal".to_owned(), |code| format!("ended with {code}"));
        let words = if self.words.is_empty() { "it said nothing" } else { &self.words };
        Trouble::Tool { what: format!("{} {how}", self.what), words: words.to_owned() }
    }
}

impl Command {
    /// A program, without arguments yet.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), limit: LIMIT, listener: None }
    }

    /// Its name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it more time, or less.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Hears each line as it is printed.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Runs it to its end.
    pub(super) async fn run(self, cancel: &CancellationToken) -> Result<Output, Trouble> {
        // A word among its arguments says what it does; the rest may be long.
        let is_word = |text: &&String| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let verb = self.arguments.iter().find(|argument| is_word(argument) && !argument.starts_with('-'));
        let what = verb.map_or_else(|| self.program.clone(), |verb| format!("{} {verb}", self.program));
        tracing::debug!(program = %self.program, arguments = ?self.arguments, "running");
        let trouble = |words: String| Trouble::Tool { what: format!("{} cannot be run", self.program), words };
        let [shell, rest @ ..] = PLAIN;
        let mut child = tokio::process::Command::new(shell)
            .args(rest)
            .arg(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("LANGUAGE", "C"), ("HOME", "/root"), ("TERM", "dumb")])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| trouble(error.to_string()))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let listener = self.listener.as_ref();
        let mut tail = std::sync::Mutex::new(Tail::default());
        let ended = async {
            let (kept, (), status) = tokio::join!(
                read(out, Stream::Out, &tail, listener, MAX_OUTPUT),
                async { drop(read(err, Stream::Err, &tail, listener, 0).await) },
                child.wait()
            );
            status.map(|status| (status.code(), kept))
        };
        let ended = tokio::select! {
            ended = timeout(self.limit, ended) => ended,
            () = cancel.cancelled() => {
                end(group, &mut child).await;
                return Err(Trouble::Cancelled);
            }
        };
        match ended {
            Ok(Ok((code, stdout))) => {
                let words = tail.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).text();
                Ok(Output { code, stdout: String::from_utf8_lossy(&stdout).into_owned(), words, what })
            }
            Ok(Err(error)) => Err(trouble(error.to_string())),
            Err(_) => {
                end(group, &mut child).await;
                let words = tail.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).text();
                let limit = humantime::format_duration(self.limit);
                Err(Trouble::Tool { what: format!("{what} took longer than {limit} and was ended"), words })
            }
        }
    }
}

/// Ends a program with all that it started.
async fn end(group: Option<Pid>, child: &mut tokio::process::Child) {
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    // What is gone already needs no signal.
    let _gone = signal(Signal::TERM);
    if timeout(ENDING, child.wait()).await.is_err() {
        let _gone = signal(Signal::KILL);
        let _collected = child.wait().await;
    }
}

/// Reads one of a program's outputs to its end: keeps the first `keep` bytes, and its last lines.
async fn read(
    input: Option<impl AsyncRead + Unpin>,
    stream: Stream,
    tail: &std::sync::Mutex<Tail>,
    listener: Option<&Listener>,
    keep: usize,
) -> Vec<u8> {
    let (mut kept, mut line, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    let Some(mut input) = input else { return kept };
    let tell = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        // Progress bars overwrite their line.
        let text = text.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default().trim_end();
        if !text.is_empty() {
            if let Some(listener) = listener {
                listener(text);
            }
            tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(stream, text);
        }
        line.clear();
    };
    while let Ok(count @ 1..) = input.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        kept.extend(bytes.iter().take(keep.saturating_sub(kept.len())));
        for &byte in bytes {
            match byte {
                b'\n' => tell(&mut line),
                _ if line.len() < MAX_LINE => line.push(byte),
                _ => {}
            }
        }
    }
    tell(&mut line);
    kept
}

/// Which of its two outputs a program wrote to.
#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// The last lines of what was printed, in the order in which they came. The stream that says more loses its oldest
/// lines first: a few words of an error outlast any amount of progress.
#[derive(Default)]
struct Tail {
    out: VecDeque<(u64, String)>,
    err: VecDeque<(u64, String)>,
    said: u64,
}

impl Tail {
    fn push(&mut self, stream: Stream, line: &str) {
        self.said += 1;
        let lines = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        lines.push_back((self.said, line.to_owned()));
        if self.out.len() + self.err.len() > TAIL_LINES {
            let longer = if self.out.len() > self.err.len() { &mut self.out } else { &mut self.err };
            longer.pop_front();
        }
    }

    fn text(&self) -> String {
        let mut lines: Vec<_> = self.out.iter().chain(&self.err).collect();
        lines.sort_unstable_by_key(|(order, _)| *order);
        lines.into_iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(command: Command) -> Result<Output, Trouble> {
        command.run(&CancellationToken::new()).await
    }

    #[tokio::test]
    async fn a_program_that_fails_has_the_last_word() {
        let script = "for i in $(seq 100); do echo line $i; done; echo E: it is broken >&2; exit 7";
        let out = run(Command::new("sh").args(["-c", script])).await.unwrap();
        assert_eq!(out.code, Some(7));
        assert!(out.stdout.starts_with("line 1\n"));
        let said = out.well().unwrap_err().to_string();
        assert!(said.starts_with("sh for i in") || said.contains("ended with 7"), "{said}");
        assert!(said.contains("E: it is broken") && said.contains("line 100") && !said.contains("line 50"), "{said}");
    }

    #[test]
    fn an_error_outlasts_the_progress_that_follows_it() {
        let mut tail = Tail::default();
        tail.push(Stream::Err, "E: it is broken");
        for line in 0..1000 {
            tail.push(Stream::Out, &format!("line {line}"));
        }
        let text = tail.text();
        assert_eq!(text.lines().count(), TAIL_LINES);
        assert!(text.starts_with("E: it is broken\nline "), "{text}");
        assert!(text.ends_with("line 999"), "{text}");
    }

    #[tokio::test]
    async fn arguments_are_nobodys_commands_and_files_are_made_as_the_machine_makes_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made");
        let hostile = "$(touch /tmp/never); `x` \" ' \n";
        let out = run(Command::new("printf").args(["%s", hostile])).await.unwrap();
        assert_eq!(out.stdout, hostile);
        run(Command::new("touch").args([file.to_str().unwrap()])).await.unwrap().well().unwrap();
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[tokio::test]
    async fn one_that_is_late_or_cancelled_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let command = || Command::new("sh").args(["-c", &script]);
        // Whoever is told to end takes a moment; what has ended and was not collected has no files open.
        let ends = async || {
            let pid = std::fs::read_to_string(&file).unwrap();
            let open = std::path::Path::new("/proc").join(pid.trim()).join("fd/0");
            for _ in 0..500 {
                if open.symlink_metadata().is_err() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        };
        let late = run(command().limit(Duration::from_millis(500))).await.unwrap_err();
        assert!(late.to_string().contains("took longer than"), "{late}");
        assert!(ends().await);
        let cancel = CancellationToken::new();
        let (ended, ()) = tokio::join!(command().run(&cancel), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cancel.cancel();
        });
        assert!(matches!(ended, Err(Trouble::Cancelled)) && ends().await);
    }
}
