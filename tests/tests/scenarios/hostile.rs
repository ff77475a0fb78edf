//! Peers that are not who they say, or say what they must not: each is refused, the log says who and why, and nothing has
//! changed.

use std::net::SocketAddr;

use homestak_protocol::codec;
use homestak_protocol::event::{Facts, Presence};
use homestak_protocol::frame::{MAX_FRAME, MAX_FRAME_UNPROVEN};
use homestak_protocol::ids::{Incarnation, JournalId};
use homestak_protocol::message::{EnrolReply, EnrolRequest, Greeting, Hello, Issued, Opening, Report, Welcome};
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use homestak_protocol::version::{ALPN_ENROL, ALPN_LINK, SUPPORTED};
use homestak_tests::chance::{Chance, seed};
use homestak_tests::peer::{self, ForeignCa, Key, Link, Shown, block, dial};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::Value;

/// A daemon that waits for agents of hosts.
struct Besieged {
    stage: Stage,
    hub: SocketAddr,
}

impl Besieged {
    fn set(name: &str) -> Self {
        let stage = Stage::set(name);
        stage.coord(&["server", "start"]).exits(0);
        let status = stage.json(0, &["server", "status"]);
        let port = status["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a daemon has a port");
        Self { stage, hub: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// A token that a host's agent may join with.
    fn token(&self, host: &str) -> Secret {
        let join = self.stage.json(0, &["agents", "join", "-H", host]);
        Secret::new(join["token"].as_str().expect("a token").to_owned())
    }

    async fn enrol(&self, token: &Secret, key: &Key) -> EnrolReply {
        let link = dial(self.hub, ALPN_ENROL, None).await.unwrap();
        link.ask(&EnrolRequest::First { token: token.clone(), csr: key.request() }).await.unwrap()
    }

    /// A host's agent that keeps the rules so far.
    async fn host(&self, name: &str) -> (Key, Issued) {
        let (key, token) = (Key::new(), self.token(name));
        let issued = issued(self.enrol(&token, &key).await);
        (key, issued)
    }

    fn agents(&self) -> Vec<(String, bool)> {
        let agents = self.stage.json(0, &["agents"]);
        let of = |agent: &Value| (agent["path"].as_str().unwrap().to_owned(), agent["connected"] == true);
        agents["agents"].as_array().unwrap().iter().map(of).filter(|(path, _)| path != "local").collect()
    }

    /// Nothing has changed: it still does its work, and nobody has joined who should not have.
    fn stands(self, agents: &[(&str, bool)]) {
        let due: Vec<_> = agents.iter().map(|(path, there)| ((*path).to_owned(), *there)).collect();
        wait::until("the links of those who misbehaved are gone", || (self.agents() == due).then_some(()));
        self.stage.json(0, &["apply", "n1-push"]);
        self.stage.strike();
    }
}

fn issued(reply: EnrolReply) -> Issued {
    match reply {
        EnrolReply::Issued(issued) => issued,
        EnrolReply::Refused(fault) => panic!("refused: {fault}"),
    }
}

fn refused(reply: EnrolReply) -> String {
    match reply {
        EnrolReply::Issued(issued) => panic!("a certificate was issued for {}", issued.path),
        EnrolReply::Refused(fault) => fault.to_string(),
    }
}

fn hello(path: &NodePath, incarnation: Incarnation) -> Hello {
    Hello {
        versions: SUPPORTED,
        order_version: 1,
        software: "a test's".into(),
        path: path.clone(),
        incarnation,
        journal: JournalId::from_bits(1),
        generations: Vec::new(),
        facts: Facts::default(),
    }
}

/// A link that was welcomed.
async fn joined(hub: SocketAddr, shown: &Shown, issued: &Issued) -> (Link, Welcome) {
    let link = dial(hub, ALPN_LINK, Some(shown)).await.unwrap();
    match link.ask(&hello(&issued.path, issued.incarnation)).await.unwrap() {
        Greeting::Welcome(welcome) => (link, welcome),
        Greeting::Refused(fault) => panic!("refused: {fault}"),
    }
}

/// Dials and says Hello; gives why that was refused.
async fn turned_away(hub: SocketAddr, shown: Option<&Shown>, hello: &Hello) -> String {
    let link = match dial(hub, ALPN_LINK, shown).await {
        Ok(link) => link,
        Err(why) => return why,
    };
    match link.ask(hello).await {
        Ok(Greeting::Welcome(_)) => panic!("{} was welcomed", hello.path),
        Ok(Greeting::Refused(fault)) => fault.to_string(),
        Err(why) => why,
    }
}

/// An encoded message with another text in the place of one.
fn spliced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (old, new) = (codec::encode(&old).unwrap(), codec::encode(&new).unwrap());
    let at = bytes.windows(old.len()).position(|part| part == old).expect("the text is there");
    [&bytes[..at], &new, &bytes[at + old.len()..]].concat()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// Names that climb, hide or are too long.
fn bad_names() -> Vec<String> {
    vec!["..".into(), "a/b".into(), "a\0b".into(), "a".repeat(300), String::new(), "a\nb".into()]
}

#[test]
fn without_a_certificate_of_the_hub_there_is_no_link() {
    let besieged = Besieged::set("stranger");
    let local = NodePath::parse("local").unwrap();
    let somebody = hello(&local, Incarnation::from_bits(1));
    block(async {
        turned_away(besieged.hub, None, &somebody).await;
        besieged.stage.logged(&["refused", "127.0.0.1", "it shows no certificate"]);

        let (ca, key) = (ForeignCa::new(), Key::new());
        let foreign = ca.dialling(&key, &format!("homestak:/local?incarnation={}", Incarnation::from_bits(1)));
        turned_away(besieged.hub, Some(&foreign), &somebody).await;
        besieged.stage.logged(&["refused", "127.0.0.1", "the certificate presented for local is refused"]);

        // Its own name in every field does not make it one of ours.
        let mut chained = ca.dialling(&key, &format!("homestak:/local?incarnation={}", Incarnation::from_bits(1)));
        chained.chain.push(ca.certificate().clone());
        turned_away(besieged.hub, Some(&chained), &somebody).await;
        besieged.stage.logged(&["refused", "it comes with others"]);

        assert!(dial(besieged.hub, b"h3", None).await.is_err(), "another protocol is refused in the handshake");
    });
    besieged.stands(&[]);
}

#[test]
fn a_token_is_good_for_the_first_key_and_the_place_that_it_was_made_for() {
    let besieged = Besieged::set("tokens");
    let (one, two) = (besieged.token("one"), besieged.token("two"));
    let (a, b, c) = (Key::new(), Key::new(), Key::new());
    block(async {
        let first = issued(besieged.enrol(&one, &a).await);
        assert_eq!(first.path.as_str(), "one");
        assert_eq!(issued(besieged.enrol(&one, &a).await).path, first.path, "the same key is answered again");
        let spent = refused(besieged.enrol(&one, &b).await);
        assert!(spent.contains("E302"), "{spent}");
        besieged.stage.logged(&["refused", "one", "another key has shown this token before"]);

        let siblings = refused(besieged.enrol(&two, &a).await);
        assert!(siblings.contains("E717") || siblings.contains("E30"), "{siblings}");
        besieged.stage.logged(&["refused", "two", "key"]);
        assert_eq!(issued(besieged.enrol(&two, &c).await).path.as_str(), "two", "it is still the sibling's");

        let made_up = refused(besieged.enrol(&Secret::new("eyJ2IjoxfQ.AAAA".into()), &b).await);
        assert!(made_up.contains("E301"), "{made_up}");
        besieged.stage.logged(&["refused", "127.0.0.1", "no machine of ours was given this token"]);

        let renewed = dial(besieged.hub, ALPN_ENROL, None).await.unwrap();
        let renewal = EnrolRequest::Renew { path: first.path.clone(), csr: b.request() };
        refused(renewed.ask(&renewal).await.unwrap());
        besieged.stage.logged(&["refused", "one", "no machine at one has this key"]);
    });
    besieged.stands(&[]);
}

#[test]
fn a_child_speaks_for_its_own_place_and_life_only() {
    let besieged = Besieged::set("overstep");
    block(async {
        let (key, one) = besieged.host("one").await;
        let (_, two) = besieged.host("two").await;
        let shown = key.with(&one.certificate);
        let another = turned_away(besieged.hub, Some(&shown), &hello(&two.path, one.incarnation)).await;
        assert!(another.contains("E717"), "{another}");
        besieged.stage.logged(&["refused", "one", "its hello for two"]);
        let life = Incarnation::from_bits(one.incarnation.bits() ^ 1);
        turned_away(besieged.hub, Some(&shown), &hello(&one.path, life)).await;
        besieged.stage.logged(&["refused", "one", "another life"]);
        let mut ancient = hello(&one.path, one.incarnation);
        ancient.versions.lowest = u16::MAX;
        ancient.versions.highest = u16::MAX;
        let version = turned_away(besieged.hub, Some(&shown), &ancient).await;
        assert!(version.contains("E715"), "{version}");

        let (link, _) = joined(besieged.hub, &shown, &one).await;
        let (mut send, mut receive) = link.connection.open_bi().await.unwrap();
        let presence = Presence {
            path: two.path.clone(),
            incarnation: two.incarnation,
            connected: true,
            since_ms: 0,
            seen_ms: 0,
            software: String::new(),
            protocol: 1,
            address: String::new(),
            facts: Facts::default(),
        };
        peer::tell(&mut send, &Opening::Reports).await.unwrap();
        peer::tell(&mut send, &Report::Presence(vec![presence])).await.unwrap();
        assert!(receive.read_to_end(1000).await.is_err(), "the link is closed");
        besieged.stage.logged(&["one", "that is not its to tell"]);
    });
    besieged.stands(&[("one", false)]);
}

#[test]
fn a_revoked_agent_is_out_at_once_and_stays_out() {
    let besieged = Besieged::set("revoked");
    block(async {
        let (key, token) = (Key::new(), besieged.token("one"));
        let one = issued(besieged.enrol(&token, &key).await);
        let shown = key.with(&one.certificate);
        let (link, _) = joined(besieged.hub, &shown, &one).await;
        besieged.stage.coord(&["agents", "revoke", "one"]).exits(0);
        let why = link.connection.closed().await.to_string();
        assert!(why.contains("revoked"), "{why}");
        besieged.stage.logged(&["one", "revoked"]);
        let again = turned_away(besieged.hub, Some(&shown), &hello(&one.path, one.incarnation)).await;
        assert!(again.contains("revoked"), "{again}");
        besieged.stage.logged(&["refused", "one", "revoked"]);
        refused(besieged.enrol(&token, &key).await);
        let renewal = dial(besieged.hub, ALPN_ENROL, None).await.unwrap();
        refused(renewal.ask(&EnrolRequest::Renew { path: one.path.clone(), csr: key.request() }).await.unwrap());
    });
    besieged.stands(&[("one", false)]);
}

#[test]
fn frames_that_are_too_large_cut_short_or_made_up_end_their_connection_and_no_other() {
    let besieged = Besieged::set("frames");
    let mut chance = Chance::of(seed("frames"));
    let large = |limit: usize| u32::try_from(limit + 1).unwrap().to_be_bytes().to_vec();
    block(async {
        let (key, one) = besieged.host("one").await;
        let (other_key, two) = besieged.host("two").await;
        let (kept, _) = joined(besieged.hub, &other_key.with(&two.certificate), &two).await;
        let shown = key.with(&one.certificate);

        // First contact: little room, for what nobody vouches for.
        let mut unproven = vec![vec![0xff; 64], large(MAX_FRAME_UNPROVEN), framed(&[]), framed(&[0xff; 100])];
        unproven.push(codec::encode(&"cut short").map(|body| framed(&body)[..6].to_vec()).unwrap());
        unproven.extend((0..20).map(|n| framed(&chance.bytes(n * 7))));
        unproven.extend((0..20).map(|n| chance.bytes(n * 7 + 1)));
        for bytes in &unproven {
            let link = dial(besieged.hub, ALPN_ENROL, None).await.unwrap();
            let answer = link.throw(bytes).await.unwrap_or_default();
            let granted = answer.get(4..).and_then(|body| codec::decode::<EnrolReply>(body).ok());
            assert!(!matches!(granted, Some(EnrolReply::Issued(_))), "{bytes:?}");
        }
        besieged.stage.logged(&["refused", "127.0.0.1", "over the limit of 16384"]);
        besieged.stage.logged(&["refused", "127.0.0.1", "ends within a message"]);
        besieged.stage.logged(&["refused", "127.0.0.1", "cannot be decoded"]);

        // Hello.
        for bytes in [large(MAX_FRAME), vec![0, 0, 1], framed(&chance.bytes(300)), framed(&[0; 8])] {
            let link = dial(besieged.hub, ALPN_LINK, Some(&shown)).await.unwrap();
            assert!(link.throw(&bytes).await.is_err(), "{bytes:?}");
        }
        besieged.stage.logged(&["refused", "one", "its hello"]);

        // A child that has joined.
        for bytes in [large(MAX_FRAME), vec![0, 0, 1], framed(&chance.bytes(500)), framed(&[7; 90])] {
            let (link, _) = joined(besieged.hub, &shown, &one).await;
            let opening = framed(&codec::encode(&Opening::Reports).unwrap());
            let _ = link.throw(&[opening, bytes].concat()).await;
            link.connection.closed().await;
        }
        besieged.stage.logged(&["one", "a report"]);
        assert!(kept.connection.close_reason().is_none(), "the other child's link holds");
    });
    besieged.stands(&[("one", false), ("two", false)]);
}

#[test]
fn names_that_climb_hide_or_are_too_long_are_refused_in_messages() {
    let besieged = Besieged::set("names");
    block(async {
        let (key, one) = besieged.host("one").await;
        let shown = key.with(&one.certificate);
        let good = codec::encode(&hello(&one.path, one.incarnation)).unwrap();
        let renewal = EnrolRequest::Renew { path: one.path.clone(), csr: key.request() };
        let renewal = codec::encode(&renewal).unwrap();
        for name in bad_names() {
            let paths = [name.clone(), format!("one/{name}/node"), format!("one/tree/{name}")];
            for path in paths.into_iter().filter(|path| NodePath::parse(path).is_err()) {
                let link = dial(besieged.hub, ALPN_LINK, Some(&shown)).await.unwrap();
                assert!(link.throw(&framed(&spliced(&good, "one", &path))).await.is_err(), "{path:?}");
                let link = dial(besieged.hub, ALPN_ENROL, None).await.unwrap();
                assert!(link.throw(&framed(&spliced(&renewal, "one", &path))).await.is_err(), "{path:?}");
            }
        }
        besieged.stage.logged(&["refused", "one", "its hello"]);
        besieged.stage.logged(&["refused", "127.0.0.1", "its request to enrol"]);
    });
    besieged.stands(&[]);
}

#[test]
fn names_that_climb_hide_or_are_too_long_are_refused_on_the_command_line() {
    let besieged = Besieged::set("arguments");
    let stage = &besieged.stage;
    // No argument holds a NUL, and a path that holds a slash more is another path.
    for name in bad_names().into_iter().filter(|name| !name.contains(['\0', '/'])) {
        for arguments in [
            ["apply", "n1-push", "-H", &name].as_slice(),
            &["destroy", &name, "--yes"],
            &["status", &name],
            &["agents", "revoke", &format!("local/{name}")],
            &["agents", "join", "-H", &name],
            &["cancel", &name],
            &["logs", &name],
            &["manifests", "show", &name],
        ] {
            let outcome = stage.coord(arguments);
            // A name that is no name is on no record: `destroy` and `status` may say just that.
            let nothing = ["destroy", "status"].contains(&arguments[0]) && outcome.code == 0;
            assert!([2, 3].contains(&outcome.code) || nothing, "{outcome}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        }
    }
    assert_eq!(stage.machines(), []);
    besieged.stands(&[]);
}
