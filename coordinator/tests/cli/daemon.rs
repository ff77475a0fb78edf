//! A daemon that says what a test tells it to, so that the command line can be seen with any answer there may be.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use homestak_coord::api::{Answer, Document, Exit, Greeting, Refusal, Request};
use homestak_protocol::fault::{Code, Fault};
use serde::Serialize;

use crate::program::Place;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The scripted daemon; it ends with the test's process.
pub(crate) struct Daemon {
    requests: Receiver<Request>,
}

/// One client.
pub(crate) struct Peer {
    stream: UnixStream,
}

impl Daemon {
    /// Listens in a place's state folder; `serve` answers each request.
    pub(crate) fn new(place: &Place, serve: impl Fn(Request, &mut Peer) + Send + Sync + 'static) -> Self {
        Self::greeting(place, |_| {}, serve)
    }

    /// The same, with a greeting of another kind.
    pub(crate) fn greeting(
        place: &Place,
        change: impl Fn(&mut Greeting) + Send + 'static,
        serve: impl Fn(Request, &mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let state = place.path("state");
        fs::create_dir_all(&state).unwrap();
        let listener = UnixListener::bind(state.join("coord.sock")).unwrap();
        let (told, requests) = mpsc::channel();
        let serve = std::sync::Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut greeting = Greeting { pid: "4242".into(), ..Greeting::new("/s", "demo") };
                change(&mut greeting);
                let (told, serve) = (told.clone(), serve.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut peer = Peer { stream };
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    peer.say(&greeting);
                    line.clear();
                    if reader.read_line(&mut line).is_ok_and(|length| length > 0) {
                        let request: Request = serde_json::from_str(&line).unwrap();
                        let _ = told.send(request.clone());
                        serve(request, &mut peer);
                    }
                });
            }
        });
        Self { requests }
    }

    /// The next request that a client has made.
    pub(crate) fn asked(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }

    /// Requests that were made and not looked at.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

impl Peer {
    /// Sends a line; a client that has gone away does not mind.
    pub(crate) fn say(&mut self, value: &impl Serialize) {
        let mut line = serde_json::to_vec(value).unwrap();
        line.push(b'\n');
        let _ = self.stream.write_all(&line);
    }

    /// Sends something that is no line of ours.
    pub(crate) fn babble(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The last answer.
    pub(crate) fn done(&mut self, exit: Exit, document: Document) {
        self.say(&Answer::Done { exit, document: Box::new(document) });
    }

    /// The last answer, when it is a no.
    pub(crate) fn refuse(&mut self, exit: Exit, code: Code, message: &str, hint: &str) {
        self.say(&Answer::Refused(Refusal::new(exit, &Fault::new(code, message).hint(hint))));
    }
}
