//! Every bound and every time limit of a link, with its reason.

use std::time::Duration;

/// The largest Hello. Its sender has shown a certificate; what makes one large are the trees of a host, some 100 bytes
/// each.
pub const MAX_HELLO: usize = 1024 * 1024;

/// How many bytes of a frame are made room for at a time, whatever its header claims.
pub const READ_AHEAD: usize = 64 * 1024;

/// Connections whose peer has not proved yet who it is. Each costs some 40 KiB, so all of them 40 MiB. All children of a
/// restarted hub come back at once; those over it are refused and try again a little later.
pub const MAX_UNPROVEN: usize = 1024;

/// Unproven connections of one address, so that one hostile machine leaves room for others.
pub const MAX_UNPROVEN_PER_ADDRESS: usize = MAX_UNPROVEN / 2;

/// From how many unproven connections on an address must first prove, at the price of one more round trip, that it is
/// not forged (QUIC Retry). It must as well wherever somebody has to wait, see `hub::door`.
pub const PROVE_ADDRESS_FROM: usize = MAX_UNPROVEN / 4;

/// Streams that a parent may have open towards a child: one for each request. The hub queues what goes beyond.
pub const MAX_STREAMS_DOWN: u32 = 64;

/// Streams that a child may have open towards its parent: Hello, reports, one renewal, one in reserve, and what its
/// endpoint fetches. Those who ask for more than that at once wait for one another, a round trip each.
pub const MAX_STREAMS_UP: u32 = 4 + 28;

/// Requests to one child that have no answer yet. The core has a few for each tree; past this it is told that the link is
/// full.
pub const MAX_REQUESTS: usize = 256;

/// Bytes in flight on one stream. 20 MB, the order of 10,000 nodes, take two seconds at a round trip of 50 ms.
pub const STREAM_WINDOW: u32 = 512 * 1024;

/// Bytes in flight on one connection: what a child can make its parent hold that it has not read yet, times the children.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Reports that wait in the uplink. The core keeps the rest, which is in its journal anyway.
pub const REPORTS: usize = 16;

/// Addresses of a parent that are kept and tried.
pub const MAX_ADDRESSES: usize = 64;

/// Bytes of a reason that travel with the end of a connection; one packet has room for it.
pub const MAX_REASON: usize = 512;

/// Time limits of links. Tests shorten them; nothing else should need to.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How often an idle child shows that it is there. Well below the 30 s after which careful firewalls forget a UDP
    /// flow, and three of them fit into [`Timing::idle`], so that single losses go unnoticed.
    pub keep_alive: Duration,
    /// Silence after which a link counts as lost. QUIC repeats lost packets within it, so only a dead link is that silent.
    pub idle: Duration,
    /// How long a first attempt to connect may take; the next ones take longer, as long as nobody answers. QUIC repeats its
    /// first packet after 1, 3 and 7 s; a new attempt starts afresh.
    pub connect: Duration,
    /// How long a peer may take between connecting and its first word, and with each of its answers to ours: some round
    /// trips at 300 ms and 20 % loss.
    pub handshake: Duration,
    /// How long the core may take to answer a question of a peer: it writes to the disk before it does.
    pub decision: Duration,
    /// When the next address is tried as well, while the one before has not answered (RFC 8305 proposes 250 ms).
    pub stagger: Duration,
    /// The first pause between attempts to reach the parent.
    pub backoff_min: Duration,
    /// The longest pause. A parent that restarts is found again within it, and 5,000 children make 1,000 attempts a
    /// second at worst.
    pub backoff_max: Duration,
    /// The longest pause after the parent has said no: only a person or another generation changes its mind.
    pub refused_max: Duration,
    /// How long a link must have held for the pauses to begin anew.
    pub proven: Duration,
    /// How long after its certificate's end a child's link is closed: its renewal may be on its way.
    pub expiry_leeway: Duration,
    /// How long the end of a connection may take to reach the peer.
    pub farewell: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(4),
            idle: Duration::from_secs(15),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            decision: Duration::from_secs(30),
            stagger: Duration::from_millis(250),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            refused_max: Duration::from_secs(30),
            proven: Duration::from_secs(10),
            expiry_leeway: Duration::from_secs(60),
            farewell: Duration::from_millis(500),
        }
    }
}
