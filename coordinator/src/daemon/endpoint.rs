//! Where agents find the daemon: one port number for QUIC (UDP) and HTTPS (TCP), under its own CA.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use homestak_node::https::More;
use homestak_node::lifecycle::Lifecycle;
use homestak_node::link::{HubEvent, MAILBOX};
use homestak_node::runtime::{BootParts, BootSource};
use homestak_node::source::SpecSource;
use homestak_node::transport::addresses::Addresses;
use homestak_node::transport::hub::{Hub, HubOptions};
use homestak_node::transport::pair::bind_pair;
use homestak_node::trust::ca::Ca;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::files::{read_private, write_private};
use homestak_node::{https, tls};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::path::NodePath;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::folder::{CA, Folder, PORT};
use super::repos::{self, Repos};
use super::{internal, internal_text};
use crate::api::{Exit, Refusal};
use crate::settings::{DEFAULT_PORT, Settings};
use homestak_node::transport::links::Links;

/// What this program calls its version.
const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// How long the endpoint may take to answer when it is asked whether it does.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// What is taken out of an endpoint once.
struct Unserved {
    hub: Hub,
    https: TcpListener,
}

/// The endpoint.
pub(super) struct Endpoint {
    ca: Arc<Ca>,
    bound: SocketAddr,
    addresses: Addresses,
    unserved: Mutex<Option<Unserved>>,
    events: Mutex<Option<mpsc::Receiver<HubEvent>>>,
    /// How it shows itself, once it serves.
    tls: OnceLock<watch::Sender<Arc<tls::HttpsConfig>>>,
    /// The operator's own certificate.
    fingerprint: Mutex<Option<String>>,
}

/// What the endpoint serves.
pub(super) struct Served {
    /// Answers machines.
    pub(super) source: Arc<dyn SpecSource>,
    /// Git work trees.
    pub(super) repos: Option<Arc<Repos>>,
    /// What else is told to those who watch.
    pub(super) more: More,
    /// The operator's own certificate and its key.
    pub(super) certificate: Option<(PathBuf, PathBuf)>,
}

impl Endpoint {
    /// Takes the port; nobody is heard yet.
    pub(super) fn bind(settings: &Settings, folder: &Folder, clock: Clock, links: Links) -> Result<Self, Refusal> {
        let ca =
            Ca::load_or_create(&folder.kept(CA), clock).map_err(|error| internal("the CA cannot be used", &error))?;
        let ca = Arc::new(ca);
        let (udp, https) = sockets(settings, &folder.kept(PORT))?;
        let instead = move |child: &NodePath| links.instead_for(child);
        let addresses = Addresses { advertise: Vec::new(), override_for: Some(Arc::new(instead)) };
        let (told, events) = mpsc::channel(MAILBOX);
        let options = HubOptions { addresses: addresses.clone(), ..HubOptions::new(udp, SOFTWARE) };
        let hub =
            Hub::bind(options, Arc::clone(&ca), told).map_err(|error| internal("agents cannot be let in", &error))?;
        let bound = hub.address();
        let unserved = Mutex::new(Some(Unserved { hub, https }));
        let (tls, fingerprint) = (OnceLock::new(), Mutex::new(None));
        Ok(Self { ca, bound, addresses, unserved, events: Mutex::new(Some(events)), tls, fingerprint })
    }

    /// What the hub tells the core. Taken once.
    pub(super) fn events(&self) -> Result<mpsc::Receiver<HubEvent>, Refusal> {
        let taken = self.events.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| internal_text("the hub has a listener already"))
    }

    /// Begins to listen.
    pub(super) fn serve(&self, served: Served, life: &Lifecycle) -> Result<(), Refusal> {
        let taken = self.unserved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Unserved { hub, https: listener }) = taken else { return Ok(()) };
        let Served { source, repos, more, certificate } = served;
        let certificate = self.certificate(certificate.as_ref())?;
        let tls = self.tls.get_or_init(|| watch::Sender::new(certificate)).subscribe();
        let about = || serde_json::Map::from_iter([("version".to_owned(), SOFTWARE.into())]);
        let metrics_token = repos.as_ref().map(|repos| repos.token().clone());
        let routes = https::health(about).merge(https::specs(Arc::clone(&source)));
        let router = routes.fallback(move |request: Request| repos::fallback(repos.clone(), request));
        let rates = https::Rates::default();
        let options = https::Options { listener, tls, router, rates, metrics_token, more };
        https::serve(options, &life.tracker, life.ending.clone())
            .map_err(|error| internal("HTTPS cannot be served", &error))?;
        hub.answer_with(source);
        hub.run(&life.tracker, life.ending.clone());
        Ok(())
    }

    /// Reads the operator's certificate again. A bad one leaves the present one in force.
    pub(super) fn renew(&self, certificate: Option<&(PathBuf, PathBuf)>) -> Result<(), Refusal> {
        if let (Some(tls), Some(_)) = (self.tls.get(), certificate) {
            tls.send_replace(self.certificate(certificate)?);
        }
        Ok(())
    }

    fn certificate(&self, files: Option<&(PathBuf, PathBuf)>) -> Result<Arc<tls::HttpsConfig>, Refusal> {
        let own = files.map(|(certificate, key)| tls::OwnCertificate::read(certificate, key)).transpose();
        let own = own.map_err(|error| {
            let fault = Fault::new(Code::NotFound, format!("the HTTPS certificate cannot be used: {error}"))
                .hint("--cert names a certificate with its chain, --key its key, both in PEM");
            Refusal::new(Exit::Configuration, &fault)
        })?;
        let fingerprint = own.as_ref().map(tls::OwnCertificate::fingerprint);
        let config = tls::https(&self.ca, &self.addresses.names(self.bound), own)
            .map_err(|error| internal("a certificate cannot be made", &error))?;
        *self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
        Ok(config)
    }

    /// `sha256:<hex>` of the operator's own certificate.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn port(&self) -> u16 {
        self.bound.port()
    }

    /// `https://…`, as this machine reaches it.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.near())
    }

    /// `sha256:<hex>`.
    pub(super) fn pin(&self) -> String {
        self.ca.pin().to_string()
    }

    /// What seals the store.
    pub(super) fn journal_key(&self) -> [u8; 32] {
        *self.ca.journal_key()
    }

    /// `HOMESTAK_SERVER` of an agent on this machine.
    pub(super) fn server_near(&self, child: &NodePath) -> String {
        let instead = self.addresses.override_for.as_ref().and_then(|instead| instead(child));
        https_list(&instead.unwrap_or_else(|| vec![self.near().to_string()]))
    }

    /// `HOMESTAK_SERVER` of an agent anywhere.
    pub(super) fn server_for(&self, child: &NodePath) -> String {
        https_list(&self.addresses.all(child, self.bound))
    }

    /// What a host's agent needs to join, without its token.
    pub(super) fn boot(&self) -> BootSource {
        let (addresses, bound, ca, ca_pem) = (self.addresses.clone(), self.bound, self.pin(), self.ca.pem());
        Arc::new(move |child| BootParts {
            servers: addresses.all(child, bound),
            ca: ca.clone(),
            ca_pem: ca_pem.clone(),
        })
    }

    /// Whether `/health` answers, as machines ask it.
    pub(super) async fn answers(&self) -> Result<(), String> {
        let near = self.near();
        match timeout(HEALTH_LIMIT, https::probe(near, self.ca.pin())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("/health does not answer at {near}: {error}")),
            Err(_) => Err(format!("/health does not answer at {near} in time")),
        }
    }

    /// Where this machine reaches it.
    fn near(&self) -> SocketAddr {
        let ip = match self.bound.ip() {
            // An endpoint on all addresses of IPv6 hears IPv4 as well.
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, self.bound.port())
    }
}

fn https_list(servers: &[String]) -> String {
    servers.iter().map(|server| format!("https://{server}")).collect::<Vec<_>>().join(",")
}

/// Binds both sockets. A port that was picked is kept, since agents know it.
fn sockets(settings: &Settings, kept: &Path) -> Result<(UdpSocket, TcpListener), Refusal> {
    let port = settings.port.or((!settings.state_given).then_some(DEFAULT_PORT)).unwrap_or(0);
    let bind = |port: u16| match settings.bind {
        Some(ip) => bind_pair(SocketAddr::new(ip, port)),
        None => bind_pair((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // A machine without IPv6.
            _ => bind_pair((Ipv4Addr::UNSPECIFIED, port).into()),
        }),
    };
    if port != 0 {
        return bind(port).map_err(|error| taken(port, &error));
    }
    let before = read_private(kept).ok().flatten();
    let before = before.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim().parse::<u16>().ok());
    if let Some(port) = before {
        match bind(port) {
            Ok(pair) => return Ok(pair),
            Err(error) => {
                tracing::warn!(port, %error, "the port that was kept cannot be had; agents elsewhere must be told the new one");
            }
        }
    }
    let pair = bind(0).map_err(|error| taken(0, &error))?;
    let port = pair.0.local_addr().map_err(|error| internal("a port cannot be had", &error))?.port();
    write_private(kept, format!("{port}\n").as_bytes()).map_err(|error| internal("the port cannot be kept", &error))?;
    Ok(pair)
}

fn taken(port: u16, error: &io::Error) -> Refusal {
    let fault = Fault::new(Code::Unreachable, format!("port {port} cannot be had: {error}"))
        .hint("choose another with --port or HOMESTAK_PORT; 0 picks a free one");
    Refusal::new(Exit::Unreachable, &fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SiteChoice;

    fn settings(state_given: bool, port: Option<u16>) -> Settings {
        Settings {
            state_dir: "/nowhere".into(),
            state_given,
            site: SiteChoice::Demo,
            port,
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            log: None,
            serving: crate::settings::Serving::default(),
        }
    }

    fn port(pair: &(UdpSocket, TcpListener)) -> u16 {
        pair.0.local_addr().unwrap().port()
    }

    #[test]
    fn a_port_that_was_picked_is_kept_and_one_that_is_taken_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("port");
        let first = sockets(&settings(true, None), &kept).unwrap();
        let picked = port(&first);
        drop(first);
        let second = sockets(&settings(true, Some(0)), &kept).unwrap();
        assert_eq!(port(&second), picked);
        let third = sockets(&settings(true, None), &kept).unwrap();
        assert_ne!(port(&third), picked);
        // One that was asked for is had or refused.
        let refused = sockets(&settings(true, Some(picked)), &kept).unwrap_err();
        assert_eq!(refused.exit, Exit::Unreachable);
    }
}
