//! Hubs that are not the parent, and a parent that goes back in time: an agent takes neither.

use std::net::SocketAddr;

use homestak_protocol::codec;
use homestak_protocol::frame::MAX_FRAME;
use homestak_protocol::ids::{Generation, Incarnation, Position, RunId, SiteId};
use homestak_protocol::message::{EnrolReply, EnrolRequest, Greeting, Hello, Issued, Reply, Request, Welcome};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::order::{Directive, OpaqueOrder, Order, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_tests::command::{self, Outcome, Running};
use homestak_tests::machine::files_below;
use homestak_tests::peer::{ForeignCa, Key, Shown, block, dial, hear, serve, tell};
use homestak_tests::stage::{Stage, line_with};
use homestak_tests::wait;
use quinn::{Connection, Endpoint};
use serde_json::Value;

/// What an agent is told of its parent.
struct Told {
    server: SocketAddr,
    token: String,
    ca: String,
}

impl Told {
    fn agent(&self, stage: &Stage, verb: &str) -> Running {
        let mut command = stage.command(&homestak_tests::binaries::binaries().agent);
        command.args([verb, "--state-dir"]).arg(stage.folder().join("father"));
        command.env("HOMESTAK_SERVER", format!("https://{}", self.server)).env_remove("HOMESTAK_STATE_DIR");
        command.env("HOMESTAK_TOKEN", &self.token).env("HOMESTAK_CA", &self.ca);
        command::start(&mut command)
    }

    /// One attempt to enrol, which must fail and leave no certificate behind.
    fn is_refused(&self, stage: &Stage) -> Outcome {
        let outcome = self.agent(stage, "enrol").finish(wait::PATIENCE);
        assert_ne!(outcome.code, 0, "{outcome}");
        let identities: Vec<_> =
            files_below(&stage.folder().join("father")).into_iter().filter(|f| f.ends_with("identity.json")).collect();
        assert!(identities.is_empty(), "{identities:?}");
        outcome
    }
}

fn pin(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn an_agent_takes_no_parent_but_the_one_with_the_pin() {
    let stage = Stage::set("impostor");
    stage.coord(&["server", "start"]).exits(0);
    let join = stage.json(0, &["agents", "join", "-H", "father"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let real = stage.json(0, &["server", "status"])["port"].as_u64().unwrap();
    let real = SocketAddr::from(([127, 0, 0, 1], u16::try_from(real).unwrap()));
    let (token, ca) = (text(&join["token"]), text(&join["ca"]));

    // The right parent, the wrong pin.
    let wrong = Told { server: real, token: token.clone(), ca: pin(b"another") };
    wrong.is_refused(&stage).says("expected sha256:");

    let (foreign, key) = (ForeignCa::new(), Key::new());
    let borrowed = block(async { dial(real, b"homestak-enrol/1", None).await.unwrap().chain() });
    assert_eq!(pin(&borrowed[1]), ca, "a hub shows its CA");
    let with_their_ca = |mut shown: Shown| {
        shown.chain.truncate(1);
        shown.chain.push(borrowed[1].clone());
        shown
    };
    // A captured sibling: its certificate is of the right CA, and good for dialling only.
    let sibling = stage.json(0, &["agents", "join", "-H", "sibling"]);
    let issued = block(async {
        let link = dial(real, b"homestak-enrol/1", None).await.unwrap();
        let token = homestak_protocol::secret::Secret::new(text(&sibling["token"]));
        match link.ask(&EnrolRequest::First { token, csr: key.request() }).await.unwrap() {
            EnrolReply::Issued(issued) => issued,
            EnrolReply::Refused(fault) => panic!("{fault}"),
        }
    });
    for shown in [
        foreign.serving(&key),
        with_their_ca(foreign.serving(&key)),
        with_their_ca(key.with(&issued.certificate)),
        key.with(&issued.certificate),
    ] {
        block(async {
            let hub = serve(&shown);
            let told = Told { server: hub.local_addr().unwrap(), token: token.clone(), ca: ca.clone() };
            let heard = tokio::spawn(async move { listen(hub).await });
            let outcome = tokio::task::spawn_blocking({
                let stage = Stage::set("told");
                move || told.is_refused(&stage)
            });
            outcome.await.unwrap().says("parent");
            heard.abort();
        });
    }
    let agents = stage.json(0, &["agents"]).to_string();
    assert!(!agents.contains("father"), "{agents}");
    // It was not used up.
    let right = Told { server: real, token, ca };
    right.agent(&stage, "enrol").finish(wait::PATIENCE).exits(0);
    stage.strike();
}

/// Takes connections that nobody should make; a token that comes is a token lost.
async fn listen(hub: Endpoint) {
    while let Some(incoming) = hub.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let (_, mut receive) = connection.accept_bi().await.unwrap();
        let said: Result<EnrolRequest, _> = hear(&mut receive).await;
        panic!("an agent has shown its token to somebody else: {said:?}");
    }
}

/// A parent that has the pin and does what it likes.
struct Parent {
    hub: Endpoint,
    ca: ForeignCa,
    path: NodePath,
    incarnation: Incarnation,
}

impl Parent {
    fn new() -> Self {
        let (ca, key) = (ForeignCa::new(), Key::new());
        let hub = serve(&ca.serving(&key));
        Self { hub, ca, path: NodePath::parse("father").unwrap(), incarnation: Incarnation::from_bits(5) }
    }

    fn told(&self) -> Told {
        let ca = pin(self.ca.certificate());
        Told { server: self.hub.local_addr().unwrap(), token: "eyJ2IjoxfQ.AAAA".into(), ca }
    }

    /// Takes the agent in, and gives its link.
    async fn welcome(&self) -> Connection {
        loop {
            let Ok(connection) = self.hub.accept().await.unwrap().await else { continue };
            let (mut send, mut receive) = connection.accept_bi().await.unwrap();
            let protocol = connection.handshake_data().unwrap();
            let protocol = protocol.downcast::<quinn::crypto::rustls::HandshakeData>().unwrap().protocol.unwrap();
            let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
            if protocol == b"homestak/1" {
                let _: Hello = hear(&mut receive).await.unwrap();
                let welcome = Welcome {
                    protocol: 1,
                    software: "a test's".into(),
                    seen: Position::default(),
                    now_ms,
                    addresses: Vec::new(),
                };
                tell(&mut send, &Greeting::Welcome(welcome)).await.unwrap();
                return connection;
            }
            let Ok(EnrolRequest::First { csr, .. }) = hear(&mut receive).await else { panic!("first contact is due") };
            let uri = format!("homestak:/{}?incarnation={}", self.path, self.incarnation);
            let issued = Issued {
                path: self.path.clone(),
                incarnation: self.incarnation,
                certificate: self.ca.grant(&csr, &uri),
                not_after_ms: now_ms + 3_600_000,
                now_ms,
                addresses: Vec::new(),
            };
            tell(&mut send, &EnrolReply::Issued(issued)).await.unwrap();
            let _ = send.finish();
            connection.closed().await;
        }
    }
}

async fn ask(link: &Connection, request: &Request) -> Result<Reply, String> {
    let (mut send, mut receive) = link.open_bi().await.map_err(|error| error.to_string())?;
    tell(&mut send, request).await?;
    let _ = send.finish();
    hear(&mut receive).await
}

fn order(path: &NodePath, generation: u64) -> Order {
    let tree = TreeId {
        site: SiteId::from_bits(1),
        host: HostName::parse("father").unwrap(),
        manifest: ManifestName::parse("tree").unwrap(),
    };
    Order {
        tree,
        path: path.clone(),
        run: RunId::from_bits(generation),
        generation: Generation(generation),
        policy: Policy::default(),
        own: None,
        children: Vec::new(),
    }
}

fn forward(order: &Order) -> Request {
    Request::Order { order: OpaqueOrder::close(order).unwrap(), word: None }
}

/// The bytes of a request with this order, in which the manifest `tree` is called something else.
fn with_manifest(order: &Order, name: &str) -> Vec<u8> {
    let good = codec::encode(order).unwrap();
    let bad = replaced(&good, &codec::encode(&"tree").unwrap(), &codec::encode(&name).unwrap());
    // As bytes in a message, an order has its length before it.
    let measured = |bytes: &[u8]| [codec::encode(&bytes.len()).unwrap().as_slice(), bytes].concat();
    replaced(&codec::encode(&forward(order)).unwrap(), &measured(&good), &measured(&bad))
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|part| part == old).expect("the piece is there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn an_agent_takes_no_older_generation_no_order_for_another_and_nothing_that_is_no_message() {
    let stage = Stage::set("stale");
    block(async {
        let parent = Parent::new();
        let mut agent = parent.told().agent(&stage, "run");
        let link = parent.welcome().await;
        let mut refused = async |request: Request, code: &str, parts: &[&str]| {
            match ask(&link, &request).await.unwrap() {
                Reply::Refused(fault) => assert_eq!(fault.code.as_str(), code, "{fault}"),
                other => panic!("{request:?} was answered with {other:?}"),
            }
            let line = wait::until("the agent says why", || line_with(&agent.complaints(), parts));
            assert!(line.contains("refused"), "{line}");
        };
        assert_eq!(ask(&link, &forward(&order(&parent.path, 5))).await.unwrap(), Reply::Done);
        assert_eq!(ask(&link, &forward(&order(&parent.path, 5))).await.unwrap(), Reply::Done, "the same again is fine");
        refused(forward(&order(&parent.path, 4)), "E714", &["older than 5"]).await;
        let old = order(&parent.path, 4);
        let word = Directive {
            tree: old.tree.clone(),
            run: old.run,
            generation: old.generation,
            verb: Verb::Destroy,
            policy: old.policy,
            recorded: Vec::new(),
        };
        refused(Request::Directive(word), "E714", &["older than 5"]).await;
        let another = order(&NodePath::parse("mother").unwrap(), 6);
        refused(forward(&another), "E718", &["this is father, not mother"]).await;
        assert_eq!(ask(&link, &forward(&order(&parent.path, 6))).await.unwrap(), Reply::Done, "it goes on from there");

        // Names that are none, deep in an order: the bytes of a good one with another name spliced in.
        for name in ["..", "a/b", "a\0b", &"a".repeat(300)] {
            let (mut send, mut receive) = link.open_bi().await.unwrap();
            let body = with_manifest(&order(&parent.path, 7), name);
            let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes(), body.as_slice()].concat();
            send.write_all(&frame).await.unwrap();
            let _ = send.finish();
            match hear::<Reply>(&mut receive).await.unwrap() {
                Reply::Refused(fault) => assert_eq!(fault.code.as_str(), "E718", "{fault}"),
                other => panic!("{name:?} was answered with {other:?}"),
            }
        }

        // What is no message at all ends the link; the agent comes back and goes on.
        let mut link = link;
        for bytes in [u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes().to_vec(), vec![0, 0, 0, 3, 0xff, 0xff, 0xff]]
        {
            let (mut send, _receive) = link.open_bi().await.unwrap();
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
            link.closed().await;
            link = parent.welcome().await;
            assert!(matches!(ask(&link, &Request::Survey).await.unwrap(), Reply::Surveyed(trees) if trees.len() == 1));
        }
        homestak_tests::process::Process::of(agent.pid()).unwrap().kill();
        agent.finish(wait::PATIENCE);
    });
    assert_eq!(homestak_tests::machine::below(&stage.folder().join("father")), []);
}
