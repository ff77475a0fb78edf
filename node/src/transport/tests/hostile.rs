//! Peers that mean harm, or no good at any rate. Each is refused with a line in the log that says who and why, and a
//! child that has joined before notices nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::event::Facts;
use homestak_protocol::frame;
use homestak_protocol::ids::JournalId;
use homestak_protocol::message::{EnrolRequest, Greeting, Hello, Opening, Reply, Report, Request};
use homestak_protocol::order::ORDER_VERSION;
use homestak_protocol::secret::Secret;
use homestak_protocol::version::{ALPN_LINK, Range, SUPPORTED};
use quinn::{Connection, ConnectionError, Endpoint};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::fake::{DEADLINE, Folder, Kid, Parent, Wish, life, options, path, quick};
use super::log::Log;
use crate::link::Grant;
use crate::tls;
use crate::transport::limits::{MAX_HELLO, Timing};
use crate::transport::uplink::status::UplinkPhase;
use crate::transport::{quic, wire};
use crate::trust::ca::{Ca, HUB_NAME, Request as Csr};
use crate::trust::clock::Clock;
use crate::trust::identity::{Identity, Introduction};

/// A hub with a well-behaved child, and the log.
struct Scene {
    log: Log,
    parent: Parent,
    good: Kid,
}

impl Scene {
    async fn set() -> Self {
        Self::with(quick()).await
    }

    async fn with(timing: Timing) -> Self {
        let log = Log::capture();
        let parent = Parent::as_wished(Wish { timing, ..Wish::default() });
        parent.expect("good", "father/m/good", life(1));
        let mut good = Kid::start(parent.options("good"));
        good.connected().await;
        Self { log, parent, good }
    }

    /// Nothing has changed for the good child, and nobody else has come in.
    async fn holds(mut self) {
        let answer = self.parent.request("father/m/good", Request::Survey).await;
        assert_eq!(answer, Some(Reply::Surveyed(Vec::new())));
        let memory = self.parent.memory.lock().unwrap();
        assert_eq!(memory.joins.iter().filter(|(at, ..)| *at == path("father/m/good")).count(), 1);
        assert!(memory.left.iter().all(|(at, ..)| *at != path("father/m/good")));
        assert!(self.good.status.borrow_and_update().is_connected());
    }

    /// The identity of a machine that has enrolled here and means harm from now on.
    fn turncoat(&self, at: &str) -> Identity {
        let told = Introduction { ca: self.parent.ca.pin(), token: None };
        let folder = Folder::new();
        let mut identity = Identity::load_or_create(&folder.0, &told).unwrap();
        certify(&mut identity, &self.parent.ca, at, &told);
        self.parent.expect(at, at, life(7));
        self.parent.memory.lock().unwrap().machines.get_mut(at).unwrap().key = Some(identity.key().id());
        identity
    }

    async fn link(&self, identity: &Identity) -> Raw {
        let clock = Clock::system();
        let tls = tls::link(self.parent.ca.pin(), identity, identity.enrolled().unwrap(), &clock).unwrap();
        Raw::dial(self.parent.address, tls).await.unwrap()
    }

    async fn stranger(&self) -> Raw {
        Raw::dial(self.parent.address, tls::enrol(self.parent.ca.pin()).unwrap()).await.unwrap()
    }
}

fn certify(identity: &mut Identity, ca: &Ca, at: &str, told: &Introduction) {
    let request = Csr::read(&identity.key().request().unwrap()).unwrap();
    let grant = Grant { path: path(at), incarnation: life(7) };
    let issued = ca.issue(&request, &grant, Duration::from_secs(600)).unwrap();
    let persisted = identity.renewed(issued, told, &Clock::system()).unwrap().persist().unwrap();
    identity.adopt(persisted);
}

/// A bare connection.
struct Raw {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Raw {
    async fn dial(to: SocketAddr, tls: rustls::ClientConfig) -> Result<Self, ConnectionError> {
        let endpoint = quic::dialler("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quic::client(tls, &quick()).unwrap();
        let connection = endpoint.connect_with(config, to, HUB_NAME).unwrap().await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    /// Sends bytes on a stream of their own.
    async fn send(&self, bytes: &[u8], finish: bool) -> (quinn::SendStream, quinn::RecvStream) {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        // It may be turned away while it still writes.
        let _ = send.write_all(bytes).await;
        if finish {
            let _ = send.finish();
        }
        (send, receive)
    }

    async fn thrown_out(&self) -> ConnectionError {
        timeout(DEADLINE, self.connection.closed()).await.expect("it is still let in")
    }
}

fn hello(at: &str) -> Hello {
    Hello {
        versions: SUPPORTED,
        order_version: ORDER_VERSION,
        software: "1.0".into(),
        path: path(at),
        incarnation: life(7),
        journal: JournalId::from_bits(2),
        generations: Vec::new(),
        facts: Facts::default(),
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_link_without_a_certificate_is_refused() {
    let scene = Scene::set().await;
    let mut tls = tls::enrol(scene.parent.ca.pin()).unwrap();
    tls.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let raw = Raw::dial(scene.parent.address, tls).await.unwrap();
    let sent = raw.send(&frame::seal(&hello("father/m/good")).unwrap(), true).await;
    raw.thrown_out().await;
    scene.log.until(&["127.0.0.1", "a connection is refused", "it shows no certificate"]).await;
    drop(sent);
    scene.holds().await;
}

#[tokio::test]
async fn a_certificate_of_another_hub_opens_no_door_here() {
    let scene = Scene::set().await;
    let (elsewhere, home) = (Folder::new(), Folder::new());
    let other = Ca::load_or_create(&elsewhere.0, Clock::system()).unwrap();
    let told = Introduction { ca: scene.parent.ca.pin(), token: None };
    let mut identity = Identity::load_or_create(&home.0, &told).unwrap();
    certify(&mut identity, &other, "father/m/good", &told);
    let raw = scene.link(&identity).await;
    let end = raw.thrown_out().await;
    assert!(matches!(end, ConnectionError::ConnectionClosed(_)), "{end:?}");
    scene.log.until(&["127.0.0.1", "a connection is refused", "presented for father/m/good", "UnknownIssuer"]).await;
    scene.holds().await;
}

/// Serves with this chain until it is dropped, and counts who gets through the handshake.
fn serve(certified: CertifiedKey) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    tls.alpn_protocols = vec![ALPN_LINK.to_vec(), b"homestak-enrol/1".to_vec()];
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    quic::listener(socket, quic::server(tls, &quick()).unwrap(), &[0; 32]).unwrap()
}

async fn refuses(endpoint: Endpoint, pin: crate::trust::pin::CaPin, why: &str) {
    let mut kid = Kid::start(options(endpoint.local_addr().unwrap(), pin, "token"));
    let handshakes = tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                // TLS 1.3: this side may be done before the other has said no, but it never gets to read a word.
                assert!(connection.accept_bi().await.is_err(), "the token was shown");
            }
        }
    });
    let status = kid.until("a refusal", |status| matches!(status.phase, UplinkPhase::Refused(_))).await;
    let error = status.last_error.unwrap();
    assert!(error.contains(why), "{error}");
    kid.stop().await;
    assert!(!handshakes.is_finished(), "the token was shown");
}

#[tokio::test]
async fn neither_a_sibling_nor_another_hub_can_pass_for_the_parent() {
    let scene = Scene::set().await;
    let ca = &scene.parent.ca;
    let elsewhere = Folder::new();
    let other = Ca::load_or_create(&elsewhere.0, Clock::system()).unwrap();
    // A child's certificate, with the CA that signed it.
    let sibling = scene.turncoat("father/m/b");
    let chain = vec![sibling.enrolled().unwrap().certificate.clone(), ca.certificate().clone()];
    let certified = CertifiedKey::new(chain, sibling.key().signer().unwrap());
    refuses(serve(certified), ca.pin(), "does not allow extended key usage for server authentication").await;
    // Another hub as it is, with our CA's certificate beside its own, and with none.
    let theirs = other.serve(&[]).unwrap();
    let signer = theirs.key.signer().unwrap();
    let with = |chain| serve(CertifiedKey::new(chain, signer.clone()));
    let leaf = theirs.chain[0].clone();
    refuses(with(theirs.chain.clone()), ca.pin(), "the parent's CA is").await;
    refuses(with(vec![leaf.clone(), ca.certificate().clone()]), ca.pin(), "the parent's certificate is refused").await;
    refuses(with(vec![leaf]), ca.pin(), "no certificate with its CA").await;
    scene.holds().await;
}

#[tokio::test]
async fn a_child_that_claims_another_place_life_or_version_is_refused() {
    let scene = Scene::set().await;
    let turncoat = scene.turncoat("father/m/b");
    let no_version = Hello { versions: Range { lowest: 900, highest: 901 }, ..hello("father/m/b") };
    let other_life = Hello { incarnation: life(8), ..hello("father/m/b") };
    for (hello, why) in [
        (hello("father/m/good"), "its hello for father/m/good"),
        (hello("father"), "its hello for father"),
        (other_life, "another life of its machine"),
        (no_version, "it speaks protocol 900 to 901"),
    ] {
        let raw = scene.link(&turncoat).await;
        let (_send, mut receive) = raw.send(&frame::seal(&hello).unwrap(), true).await;
        let greeting: Greeting = wire::receive(&mut receive, MAX_HELLO).await.unwrap();
        assert!(matches!(&greeting, Greeting::Refused(fault) if fault.message.contains(why)), "{greeting:?}");
        raw.thrown_out().await;
        scene.log.until(&["127.0.0.1", "a link is refused", "path=father/m/b", why]).await;
    }
    scene.holds().await;
}

#[tokio::test]
async fn frames_that_are_too_large_cut_short_or_random_end_a_strangers_connection() {
    let scene = Scene::set().await;
    let token = Secret::new("x".repeat(20_000));
    let large = frame::seal(&EnrolRequest::First { token, csr: Vec::new() }).unwrap();
    let no_csr = frame::seal(&EnrolRequest::First { token: Secret::new("good".into()), csr: vec![1, 2, 3] }).unwrap();
    let mut trailing = frame::seal(&EnrolRequest::First { token: Secret::new("x".into()), csr: Vec::new() }).unwrap();
    trailing.push(0);
    trailing[3] += 1;
    for (bytes, why) in [
        (large.as_slice(), "over the limit of 16384"),
        (&[0xff; 4], "over the limit of 16384"),
        (&no_csr[..no_csr.len() - 1], "the stream ends within a message"),
        (&no_csr[..2], "the stream ends within a message"),
        (&[], "the stream ends where a message is due"),
        (&trailing, "left over"),
        (&[0, 0, 0, 4, 0xfa, 0xff, 0xff, 0xff], "cannot be decoded"),
        (&no_csr, "the certificate request is refused"),
    ] {
        let raw = scene.stranger().await;
        let _streams = raw.send(bytes, true).await;
        raw.thrown_out().await;
        scene.log.until(&["127.0.0.1", "enrol", why]).await;
    }
    for _ in 0..50 {
        let raw = scene.stranger().await;
        let _streams = raw.send(&[[0, 0, 0, 96].as_slice(), &random::<96>()].concat(), true).await;
        raw.thrown_out().await;
    }
    assert_eq!(scene.parent.memory.lock().unwrap().enrolments, 1);
    scene.holds().await;
}

#[tokio::test]
async fn frames_that_are_too_large_cut_short_or_random_end_a_childs_link() {
    let scene = Scene::set().await;
    let turncoat = scene.turncoat("father/m/b");
    let hello = frame::seal(&hello("father/m/b")).unwrap();
    let reports = frame::seal(&Opening::Reports).unwrap();
    // Instead of a hello.
    for (bytes, why) in [
        (&[0xff; 4][..], "over the limit of"),
        (&hello[..hello.len() - 1], "the stream ends within a message"),
        (&[0, 0, 0, 4, 0xfa, 0xff, 0xff, 0xff], "cannot be decoded"),
    ] {
        let raw = scene.link(&turncoat).await;
        let _streams = raw.send(bytes, true).await;
        raw.thrown_out().await;
        scene.log.until(&["127.0.0.1", "a link is refused", "path=father/m/b", why]).await;
    }
    // After it.
    let two = [reports.as_slice(), &frame::seal(&Report::Presence(Vec::new())).unwrap()].concat();
    for (bytes, why) in [
        (random::<64>().map(|byte| byte | 0x80).to_vec(), "over the limit of"),
        ([reports.as_slice(), &[0xff; 4]].concat(), "over the limit of"),
        ([reports.as_slice(), &[0, 0, 0, 4, 0xfa, 0xff, 0xff, 0xff]].concat(), "cannot be decoded"),
        (two[..two.len() - 1].to_vec(), "the stream ends within a message"),
        (frame::seal(&Opening::Renew { csr: vec![0; 40] }).unwrap(), "the certificate request is refused"),
    ] {
        let raw = scene.link(&turncoat).await;
        let (_send, mut receive) = raw.send(&hello, true).await;
        let greeting: Greeting = wire::receive(&mut receive, MAX_HELLO).await.unwrap();
        assert!(matches!(greeting, Greeting::Welcome(_)), "{greeting:?}");
        let (_more, mut answer) = raw.send(&bytes, true).await;
        if why.contains("certificate request") {
            // This one is answered, and the link goes on.
            assert!(!answer.read_to_end(4096).await.unwrap().is_empty());
        } else {
            raw.thrown_out().await;
        }
        scene.log.until_line(&["path=father/m/b", why]).await;
    }
    assert!(scene.parent.memory.lock().unwrap().reports.is_empty());
    scene.holds().await;
}

#[tokio::test]
async fn a_child_has_one_stream_of_reports_and_answers_requests_with_replies() {
    let scene = Scene::set().await;
    let turncoat = scene.turncoat("father/m/b");
    let raw = scene.link(&turncoat).await;
    let hello = raw.send(&frame::seal(&hello("father/m/b")).unwrap(), true).await;
    let opening = frame::seal(&Opening::Reports).unwrap();
    let streams = (raw.send(&opening, false).await, raw.send(&opening, false).await);
    let end = raw.thrown_out().await;
    assert!(end.to_string().contains("a second stream of reports"), "{end}");
    drop((hello, streams));

    let raw = scene.link(&turncoat).await;
    let hello = raw.send(&frame::seal(&self::hello("father/m/b")).unwrap(), true).await;
    let raw_answers = async {
        let (mut send, _receive) = raw.connection.accept_bi().await.unwrap();
        send.write_all(&[0, 0, 0, 2, 0xfa, 0xff]).await.unwrap();
        raw.thrown_out().await
    };
    scene
        .parent
        .until("the link", |memory| {
            (memory.links.contains_key(&path("father/m/b")) && memory.left.len() == 1).then_some(())
        })
        .await;
    let (answer, end) = tokio::join!(scene.parent.request("father/m/b", Request::Survey), raw_answers);
    assert_eq!(answer, None);
    assert!(end.to_string().contains("its answer to a request"), "{end}");
    drop(hello);
    scene.holds().await;
}

#[tokio::test]
async fn peers_that_say_nothing_are_thrown_out_in_time_and_keep_nobody_else_out() {
    let timing = Timing { handshake: Duration::from_millis(300), ..quick() };
    let scene = Scene::with(timing).await;
    let turncoat = scene.turncoat("father/m/b");
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(scene.link(&turncoat).await);
        silent.push(scene.stranger().await);
    }
    // One byte short of a header, and a header without its body.
    let mut half = Vec::new();
    for bytes in [&[0, 0, 0][..], &[0, 0, 1, 0]] {
        let raw = scene.stranger().await;
        half.push(raw.send(bytes, false).await);
        silent.push(raw);
    }
    scene.parent.expect("late", "father/m/late", life(2));
    let mut late = Kid::start(scene.parent.options("late"));
    late.connected().await;
    for raw in &silent {
        raw.thrown_out().await;
    }
    scene.log.until(&["127.0.0.1", "path=father/m/b", "its hello did not come in time"]).await;
    scene.log.until(&["127.0.0.1", "its request to enrol did not come in time"]).await;
    drop(half);
    scene.holds().await;
}

#[tokio::test]
async fn random_datagrams_do_not_disturb_a_hub() {
    let scene = Scene::set().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for i in 0..2000_u32 {
        let mut bytes = random::<1200>();
        // Every other one looks like the first packet of a connection.
        if i % 2 == 0 {
            bytes[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        let _ = socket.send_to(&bytes, scene.parent.address).await;
        if i % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    scene.parent.expect("late", "father/m/late", life(2));
    Kid::start(scene.parent.options("late")).connected().await;
    scene.holds().await;
}
