//! Requests as they come in the wild: what each of them gets is what `interfaces.md` says, and nobody waits for anybody.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use homestak_tests::curl::{curl, told};
use homestak_tests::needs;
use homestak_tests::raw::{Raw, answers};
use homestak_tests::stage::Stage;

/// A machine that pulls.
const ONE: &str = r#"{"schema_version": 2, "name": "one", "pattern": "flat", "nodes": [
    {"name": "edge", "type": "vm", "spec": "base", "preset": "vm-xsmall", "image": "debian-12", "vmid": 99201,
     "execution": {"mode": "pull"}}]}"#;

struct Asked {
    stage: Stage,
    url: String,
    address: SocketAddr,
    token: String,
}

impl Asked {
    fn set() -> Self {
        let stage = Stage::set("raw");
        stage.json(0, &["apply", "--manifest-json", ONE]);
        let (_, token) = told(&stage.machine("local/one/edge"));
        let url = stage.json(0, &["server", "status"])["url"].as_str().unwrap().to_owned();
        let address = url.strip_prefix("https://").unwrap().parse().unwrap();
        Self { stage, url, address, token }
    }

    fn says(&self, request: &[u8]) -> Vec<(u16, String)> {
        let mut raw = Raw::connect(self.address);
        raw.send(request);
        answers(&raw.rest())
    }
}

/// A request line and headers, with everything that goes around them.
fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
}

#[test]
fn every_request_gets_the_status_and_code_that_are_promised() {
    let asked = Asked::set();
    let token = asked.token.as_str();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let (payload, signature) = token.split_once('.').unwrap();
    let good = |line: &str| request(line, &bearer);
    let with = |header: String| request("GET /spec/edge", &header);
    let plain = |line: &str| request(line, "");
    let huge = format!("X: {}\r\n", "a".repeat(64 * 1024));
    let many = (0..200).map(|n| format!("X-{n}: a\r\n")).collect::<String>();
    let cases: Vec<(String, u16, &str)> = vec![
        (plain("GET /health"), 200, ""),
        (plain("GET /health/"), 200, ""),
        (plain("GET /health///"), 200, ""),
        (plain("GET /health?x=%00"), 200, ""),
        (plain("HEAD /health"), 200, ""),
        (plain("GET https://hub.example/health"), 200, ""),
        (plain("GET /specs"), 200, ""),
        (plain("GET /specs/"), 200, ""),
        (plain("GET /metrics"), 200, ""),
        (good("GET /spec/edge"), 200, ""),
        (good("GET /spec/edge/"), 200, ""),
        (good("GET /spec/edge?a=b"), 200, ""),
        (good("HEAD /spec/edge"), 200, ""),
        (good("GET /spec/%65dge"), 200, ""),
        (with(format!("authorization: bearer {token}\r\n")), 200, ""),
        (with(format!("AUTHORIZATION: BEARER   {token}  \r\n")), 200, ""),
        (good("GET /spec/other"), 401, "E301"),
        (good("GET /spec/EDGE"), 401, "E301"),
        (good("GET /spec/edge%00"), 401, "E301"),
        (good("GET /spec/edge%2f"), 401, "E301"),
        (good("GET /spec/..%2fedge"), 401, "E301"),
        (good("GET /spec/%2e%2e"), 401, "E301"),
        (good("GET /spec/%252e"), 401, "E301"),
        (good("GET /spec/\u{fc}"), 401, "E301"),
        (good("GET /spec/%ff"), 400, "E100"),
        (good("GET /spec/"), 400, "E100"),
        (good("GET /spec"), 400, "E100"),
        (good("GET /spec/edge/more"), 400, "E100"),
        (good("GET /spec/../spec/edge"), 400, "E100"),
        (good("GET //spec/edge"), 400, "E100"),
        (good("GET /SPEC/edge"), 400, "E100"),
        (plain("GET /spec/edge"), 400, "E300"),
        (with("Authorization: Bearer\r\n".into()), 400, "E300"),
        (with("Authorization: Bearer \r\n".into()), 400, "E300"),
        (with("Authorization: \r\n".into()), 400, "E300"),
        (with(format!("Authorization: Basic {token}\r\n")), 400, "E300"),
        (with(format!("Authorization: {token}\r\n")), 400, "E300"),
        (with(format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n")), 400, "E300"),
        (with("Authorization: Bearer rubbish\r\n".into()), 400, "E300"),
        (with(format!("Authorization: Bearer {payload}.{signature}.{signature}\r\n")), 400, "E300"),
        (with(format!("Authorization: Bearer {payload}.{signature}=\r\n")), 400, "E300"),
        (with(format!("Authorization: Bearer {payload}.!!!\r\n")), 400, "E300"),
        (with("Authorization: Bearer \u{fc}.\u{fc}\r\n".into()), 400, "E300"),
        (with(format!("Authorization: Bearer {}.{signature}\r\n", &payload[..payload.len() - 4])), 401, "E301"),
        (with(format!("Authorization: Bearer .{signature}\r\n")), 401, "E301"),
        (with(format!("Authorization: Bearer {}\r\n", "a.".repeat(3000))), 400, "E300"),
        (good("POST /spec/edge"), 400, "E100"),
        (good("PUT /spec/edge"), 400, "E100"),
        (good("DELETE /spec/edge"), 400, "E100"),
        (good("PATCH /health"), 400, "E100"),
        (good("OPTIONS /health"), 400, "E100"),
        (good("OPTIONS *"), 400, "E100"),
        (good("TRACE /health"), 400, "E100"),
        (good("BREW /health"), 400, "E100"),
        (good("CONNECT hub.example:443"), 400, "E100"),
        (plain("GET /"), 400, "E100"),
        (plain("GET /../../etc/passwd"), 400, "E100"),
        (plain("GET /%2e%2e/%2e%2e/etc/passwd"), 400, "E100"),
        (plain("GET /agent"), 400, "E100"),
        (plain("GET /agent/x86_64"), 400, "E300"),
        (good("GET /agent/riscv128"), 404, "E200"),
        (good("GET /agent/..%2f..%2fetc%2fpasswd"), 404, "E200"),
        (plain("GET /site.git/HEAD"), 400, "E100"),
        (plain("GET /site.git/info/refs?service=git-upload-pack"), 400, "E100"),
        (request("GET /health", "Content-Length: 5\r\n") + "hello", 200, ""),
        (request("GET /health", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n", 200, ""),
        (request("GET /health", "Expect: 100-continue\r\n"), 200, ""),
        (request("GET /health", "Upgrade: h2c\r\nHTTP2-Settings: x\r\n"), 200, ""),
        ("GET /health HTTP/1.0\r\n\r\n".into(), 200, ""),
        ("GET /nowhere HTTP/1.0\r\n\r\n".into(), 400, "E100"),
        (request("GET /health", &huge), 431, ""),
        (request("GET /health", &many), 431, ""),
        (request(&format!("GET /{}", "a".repeat(64 * 1024)), ""), 431, ""),
        ("GET /health HTTP/2.0\r\n\r\n".into(), 400, ""),
        ("GET /he\0alth HTTP/1.1\r\n\r\n".into(), 400, ""),
        ("GET /health\r\n\r\n".into(), 400, ""),
        ("\x16\x03\x01\r\n\r\n".into(), 400, ""),
        (request("GET /health", "Bad Header: x\r\n"), 400, ""),
        (request("GET /health", "X: a\0b\r\n"), 400, ""),
        (request("GET /health", "Content-Length: -1\r\n"), 400, ""),
        (request("GET /health", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400, ""),
    ];
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for (request, status, code) in &cases {
        let said = asked.says(request.as_bytes());
        // Interim answers come before the one that counts.
        let last = said.iter().rfind(|(status, _)| *status >= 200).cloned().unwrap_or_default();
        if last != (*status, (*code).to_owned()) {
            wrong.push(format!("{:?} got {said:?}, not {status} {code}", &request[..request.len().min(120)]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    asked.stage.strike();
}

#[test]
fn requests_share_a_connection_in_their_order() {
    let asked = Asked::set();
    let line = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let bad = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let spec = format!("GET /spec/edge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", asked.token);
    let close = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let said = asked.says([line, bad, &spec, bad, close].concat().as_bytes());
    assert_eq!(said.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 400, 200, 400, 200], "{said:?}");
    let mut kept = Raw::connect(asked.address);
    for _ in 0..20 {
        kept.send(line.as_bytes());
        assert_eq!(kept.one().0, 200);
    }
    asked.stage.strike();
}

#[test]
fn those_who_are_slow_silent_or_speak_no_tls_hold_up_nobody() {
    let name = "those_who_are_slow_silent_or_speak_no_tls_hold_up_nobody";
    if !needs::program(name, "curl") {
        return;
    }
    let asked = Asked::set();
    let address = asked.address;
    // A thousand that say nothing at all, some that begin a handshake, some a request, some something else.
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (n, stream) in idle.iter_mut().enumerate().take(90) {
        let word: &[u8] = [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"][n % 3];
        let _ = stream.write_all(word);
    }
    let mut begun: Vec<Raw> = (0..10).map(|_| Raw::connect(address)).collect();
    begun.iter_mut().for_each(|raw| raw.send(b"GET /hea"));
    let slow = thread::spawn(move || {
        let mut raw = Raw::connect(address);
        raw.drip(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Duration::from_secs(1));
        answers(&raw.rest())
    });
    let before = Instant::now();
    for _ in 0..20 {
        assert_eq!(curl(&format!("{}/spec/edge", asked.url), Some(&asked.token), &[]).status, 200);
    }
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    // Whoever speaks no TLS is told so in TLS and left.
    let mut answer = Vec::new();
    let _ = idle[1].set_read_timeout(Some(Duration::from_secs(20)));
    let _ = idle[1].read_to_end(&mut answer);
    assert!(answer.len() < 64, "{answer:?}");
    assert_eq!(slow.join().unwrap(), [(200, String::new())], "one byte a second is enough");
    drop((idle, begun));
    asked.stage.strike();
}

#[test]
fn pythons_client_gets_the_same() {
    let name = "pythons_client_gets_the_same";
    if !needs::program(name, "python3") {
        return;
    }
    let asked = Asked::set();
    let program = r#"
import http.client, json, ssl, sys
host, port, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
c = http.client.HTTPSConnection(host, port, context=context, timeout=30)
for path, headers, status in [("/health", {}, 200), ("/spec/edge", {"Authorization": "Bearer " + token}, 200),
                              ("/spec/edge", {}, 400), ("/nowhere", {}, 400), ("/specs", {}, 200)]:
    c.request("GET", path, headers=headers)
    r = c.getresponse()
    body = json.loads(r.read())
    assert r.status == status, (path, r.status, body)
    if path == "/spec/edge" and status == 200: assert body["identity"]["hostname"] == "edge", body
c.request("HEAD", "/health"); r = c.getresponse(); assert (r.status, r.read()) == (200, b"")
c.request("POST", "/health", body=b"x" * 100000); r = c.getresponse(); assert r.status == 400
print("well")
"#;
    let mut command = Command::new("python3");
    let (ip, port) = (asked.address.ip().to_string(), asked.address.port().to_string());
    let output = command.args(["-c", program, &ip, &port, &asked.token]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "well", "{}", String::from_utf8_lossy(&output.stderr));
    asked.stage.strike();
}

#[test]
fn a_machine_without_an_agent_gets_one_whose_digest_is_told() {
    let name = "a_machine_without_an_agent_gets_one_whose_digest_is_told";
    if !needs::program(name, "curl") || !needs::program(name, "sha256sum") {
        return;
    }
    let asked = Asked::set();
    let (parent, token) = told(&asked.stage.machine("local/one/edge"));
    let arch = std::env::consts::ARCH;
    for server in [&asked.url, &parent] {
        let (file, head) = (asked.stage.folder().join("agent"), asked.stage.folder().join("head"));
        let (to, dump) = (file.display().to_string(), head.display().to_string());
        let answer = curl(&format!("{server}/agent/{arch}"), Some(&token), &["--output", &to, "--dump-header", &dump]);
        assert_eq!(answer.status, 200, "{server}");
        let head = std::fs::read_to_string(&head).unwrap().to_lowercase();
        let told = head.lines().find_map(|line| line.strip_prefix("x-checksum-sha256: ")).unwrap().to_owned();
        let sum = Command::new("sha256sum").arg(&file).output().unwrap().stdout;
        assert!(String::from_utf8(sum).unwrap().starts_with(&told), "{head}");
    }
    asked.stage.strike();
}
