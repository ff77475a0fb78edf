//! An endpoint that says what a test wants: the real one, with a scripted source, behind a door that may also misbehave.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use homestak_node::https::{self, Rates};
use homestak_node::lifecycle::Lifecycle;
use homestak_node::source::{Answering, Asker, Found, SpecSource};
use homestak_node::tls;
use homestak_node::trust::ca::Ca;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::pin::CaPin;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Fetch;
use tokio::sync::watch;

/// What happens to a connection.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// It is closed before a byte was read.
    HangUp,
    /// It is answered with what is no TLS.
    Rubbish,
    /// Nothing is ever said.
    Silence,
    /// The spec is given.
    Spec(String),
    /// It is refused with this code.
    Refuse(Code),
}

/// The endpoint. It lives as long as the test's process.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) pin: CaPin,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    script: Arc<Mutex<VecDeque<Deed>>>,
}

impl Endpoint {
    pub(crate) fn open() -> Self {
        let script: Arc<Mutex<VecDeque<Deed>>> = Arc::default();
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let source = Arc::new(Scripted { script: Arc::clone(&script), asked: Arc::clone(&asked) });
        let inner = TcpListener::bind("127.0.0.1:0").unwrap();
        let behind = inner.local_addr().unwrap();
        let pin = serve(inner, source);
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap();
        let at_the_door = Arc::clone(&script);
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in door.incoming() {
                let stream = stream.unwrap();
                let mut script = at_the_door.lock().unwrap();
                match script.front() {
                    Some(Deed::HangUp) => drop(stream.shutdown(Shutdown::Both)),
                    Some(Deed::Rubbish) => rubbish(stream),
                    Some(Deed::Silence) => silent.push(stream),
                    // What is asked behind the door is the source's to count.
                    Some(Deed::Spec(_) | Deed::Refuse(_)) | None => {
                        through(stream, behind);
                        continue;
                    }
                }
                script.pop_front();
            }
        });
        Self { address, pin, asked, script }
    }

    /// What it does next, connection by connection.
    pub(crate) fn does(&self, deeds: impl IntoIterator<Item = Deed>) {
        let mut script = self.script.lock().unwrap();
        script.clear();
        script.extend(deeds);
        self.asked.lock().unwrap().clear();
    }

    /// How much of that is left.
    pub(crate) fn left(&self) -> usize {
        self.script.lock().unwrap().len()
    }

    /// Who has asked for a spec, with which token.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

struct Scripted {
    script: Arc<Mutex<VecDeque<Deed>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl SpecSource for Scripted {
    fn fetch(&self, _: Asker, what: Fetch) -> Answering<'_> {
        let answer = match (what, self.script.lock().unwrap().pop_front()) {
            (Fetch::Spec { identity, token }, deed) => {
                self.asked.lock().unwrap().push((identity, token.expose().to_owned()));
                match deed {
                    Some(Deed::Spec(document)) => Ok(Found::Document(document.into())),
                    Some(Deed::Refuse(code)) => Err(Fault::new(code, "as the test wants it")),
                    other => Err(Fault::new(Code::Internal, format!("nothing is scripted but {other:?}"))),
                }
            }
            (other, _) => Err(Fault::new(Code::UnknownEndpoint, format!("{other:?} is not asked for in this test"))),
        };
        Box::pin(std::future::ready(answer))
    }
}

fn serve(listener: TcpListener, source: Arc<dyn SpecSource>) -> CaPin {
    let folder = tempfile::tempdir().unwrap();
    let ca = Arc::new(Ca::load_or_create(&folder.path().join("ca"), Clock::system()).unwrap());
    let options = https::Options {
        listener,
        tls: watch::Sender::new(tls::https(&ca, &[], None).unwrap()).subscribe(),
        router: https::specs(source),
        rates: Rates::default(),
        metrics_token: None,
        more: Arc::new(|text| Box::pin(std::future::ready(text))),
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let life = Lifecycle::new();
            https::serve(options, &life.tracker, life.ending.clone()).unwrap();
            life.ending.cancelled().await;
        });
    });
    CaPin::of(ca.certificate())
}

fn rubbish(mut stream: TcpStream) {
    thread::spawn(move || {
        let mut hello = [0; 64];
        let _read = stream.read(&mut hello);
        let _told = stream.write_all(b"SSH-2.0-somebody else\r\n");
    });
}

fn through(client: TcpStream, behind: SocketAddr) {
    let server = TcpStream::connect(behind).unwrap();
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        thread::spawn(move || {
            let _bytes = copy(&mut from, &mut to);
            let _closed = to.shutdown(Shutdown::Write);
        });
    }
}
