//! One port number for both: UDP for QUIC and TCP for HTTPS.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// How many free numbers are tried. Each is free for UDP and almost always for TCP as well.
const ATTEMPTS: usize = 64;

/// Binds both to this address. Port 0 finds a number that is free for both.
///
/// Both sockets are non-blocking, as the runtime wants them.
pub fn bind_pair(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        // TCP first: the port of a closed listener stays taken for a while, so the system's choice among TCP ports is the
        // narrower one.
        match bind_once(address) {
            Ok(pair) => return Ok(pair),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

fn bind_once(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind(address)?;
    let udp = UdpSocket::bind(tcp.local_addr()?)?;
    tcp.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sockets_share_a_port_and_a_taken_one_is_refused() {
        let (udp, tcp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(udp.local_addr().unwrap(), address);
        assert_eq!(bind_pair(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
