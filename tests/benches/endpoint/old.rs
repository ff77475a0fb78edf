//! A server as the old system has one: Python's own `http.server` in one thread, with TLS shaken hands on where it accepts.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use homestak_tests::curl::curl;
use homestak_tests::stage::Stage;

use super::server::{KEY, Server};

const PROGRAM: &str = include_str!("old.py");

/// Starts one that answers what the other answers now.
pub(crate) fn serve(model: &Server) -> Server {
    let stage = Stage::set("endpoint-old");
    let document = stage.file("spec.json", curl(&model.url(), Some(&model.token), &[]).body);
    let (cert, key) = (stage.folder().join("cert.pem"), stage.folder().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=old.example", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "openssl cannot make a certificate");
    // The port is free now, and nobody else asks for it.
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address: SocketAddr = free.local_addr().unwrap();
    drop(free);
    let child = Command::new("python3")
        .arg(stage.file("old.py", PROGRAM))
        .args([address.port().to_string(), KEY.to_owned()])
        .args([&cert, &key, &document])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Server::of(child, stage, address, model.token.clone())
}
