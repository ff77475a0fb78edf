//! A relay of UDP packets between a child and its parent, with weather: outages, loss and delay, both ways.
//!
//! One thread holds a runtime with one task for the child's side and one for each of the child's sockets; packets that
//! are delayed wait in tasks of their own. The weather may change at any time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::chance::Chance;

/// What happens to packets, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// Nothing passes.
    pub outage: bool,
    /// How many of a hundred packets are lost.
    pub loss: u8,
    /// How long each packet is held back.
    pub delay: Duration,
}

impl Weather {
    /// Everything passes at once.
    pub const FAIR: Self = Self { outage: false, loss: 0, delay: Duration::ZERO };
    /// Nothing passes.
    pub const OUTAGE: Self = Self { outage: true, ..Self::FAIR };

    /// Some packets are lost.
    pub const fn loss(percent: u8) -> Self {
        Self { loss: percent, ..Self::FAIR }
    }

    /// Packets are late.
    pub const fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::FAIR }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    passed: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    upstream: Option<SocketAddr>,
    chance: Chance,
}

/// A relay. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where the child finds its parent.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Relay {
    /// A relay with fair weather. Until the parent is known, packets are lost.
    pub fn start(seed: u64) -> Self {
        let state = State { weather: Weather::FAIR, upstream: None, chance: Chance::of(seed) };
        let shared = Shared { state: Mutex::new(state), passed: AtomicU64::new(0), lost: AtomicU64::new(0) };
        let shared = Arc::new(shared);
        let front = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        front.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = front.local_addr().expect("a bound socket has an address");
        let (end, ended) = oneshot::channel();
        let mine = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
            runtime.block_on(async {
                let front = Arc::new(UdpSocket::from_std(front).expect("the runtime takes the socket"));
                tokio::select! {
                    () = carry_up(front, mine) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, shared, end: Some(end), thread: Some(thread) }
    }

    /// Where the parent is.
    pub fn towards(&self, parent: SocketAddr) {
        self.shared.state.lock().unwrap().upstream = Some(parent);
    }

    /// What the weather is from now on.
    pub fn turn(&self, weather: Weather) {
        self.shared.state.lock().unwrap().weather = weather;
    }

    /// How many packets have passed, and how many were lost here.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.passed.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Where a packet goes and after how long; none if it is lost.
    fn fate(&self) -> Option<(SocketAddr, Duration)> {
        let mut state = self.state.lock().unwrap();
        let percent = state.weather.loss;
        let lost = state.weather.outage || state.chance.hits(percent);
        let fate = state.upstream.filter(|_| !lost).map(|upstream| (upstream, state.weather.delay));
        let count = if fate.is_some() { &self.passed } else { &self.lost };
        count.fetch_add(1, Ordering::Relaxed);
        fate
    }
}

/// Packets of the child, each of whose sockets gets one of its own towards the parent.
async fn carry_up(front: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut packet = vec![0; 65_536];
    loop {
        // The kernel tells here of packets to a child that is gone; that is no end.
        let Ok((length, child)) = front.recv_from(&mut packet).await else { continue };
        let Some((upstream, delay)) = shared.fate() else { continue };
        let back = match backs.get(&child) {
            Some(back) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port is free"));
                backs.insert(child, Arc::clone(&back));
                tokio::spawn(carry_down(Arc::clone(&back), Arc::clone(&front), child, Arc::clone(&shared)));
                back
            }
        };
        deliver(back, packet[..length].to_vec(), upstream, delay).await;
    }
}

/// Packets of the parent to one of the child's sockets.
async fn carry_down(back: Arc<UdpSocket>, front: Arc<UdpSocket>, child: SocketAddr, shared: Arc<Shared>) {
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((length, _)) = back.recv_from(&mut packet).await else { continue };
        let Some((_, delay)) = shared.fate() else { continue };
        deliver(Arc::clone(&front), packet[..length].to_vec(), child, delay).await;
    }
}

async fn deliver(socket: Arc<UdpSocket>, packet: Vec<u8>, to: SocketAddr, delay: Duration) {
    // A packet that cannot be delivered is a lost packet.
    if delay.is_zero() {
        let _ = socket.send_to(&packet, to).await;
    } else {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = socket.send_to(&packet, to).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;
    use crate::wait;

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        let mut packet = [0; 100];
        let (length, from) = socket.recv_from(&mut packet).expect("a packet comes");
        (packet[..length].to_vec(), from)
    }

    /// Waits until the relay has dealt with so many packets, then counts what has come.
    fn came(relay: &Relay, dealt: u64, sockets: [&UdpSocket; 2]) -> usize {
        wait::until("the relay has seen all packets", || (relay.counts().0 + relay.counts().1 >= dealt).then_some(()));
        let come = |socket: &UdpSocket| {
            socket.set_nonblocking(true).unwrap();
            std::iter::from_fn(|| socket.recv(&mut [0; 100]).ok()).count()
        };
        sockets.into_iter().map(come).sum()
    }

    #[test]
    fn packets_pass_both_ways_and_the_weather_holds() {
        let relay = Relay::start(1);
        let (child, parent) = (socket(), socket());
        child.send_to(b"lost", relay.address).unwrap();
        assert_eq!(came(&relay, 1, [&child, &parent]), 0, "nobody knows yet where the parent is");
        relay.towards(parent.local_addr().unwrap());
        child.send_to(b"up", relay.address).unwrap();
        let (up, back) = heard(&parent);
        assert_eq!(up, b"up");
        parent.send_to(b"down", back).unwrap();
        assert_eq!(heard(&child), (b"down".to_vec(), relay.address));

        relay.turn(Weather::OUTAGE);
        child.send_to(b"lost", relay.address).unwrap();
        parent.send_to(b"lost", back).unwrap();
        assert_eq!(came(&relay, 5, [&child, &parent]), 0);

        relay.turn(Weather::delay(Duration::from_millis(60)));
        let began = Instant::now();
        child.send_to(b"late", relay.address).unwrap();
        assert_eq!(heard(&parent).0, b"late");
        assert!(began.elapsed() >= Duration::from_millis(60));

        relay.turn(Weather::loss(50));
        (0..200).for_each(|_| assert_eq!(child.send_to(b"perhaps", relay.address).unwrap(), 7));
        let came = came(&relay, 200 + 6, [&child, &parent]);
        assert!((50..150).contains(&came), "{came} of 200 came at a loss of half");
        assert_eq!(relay.counts().0 + relay.counts().1, 200 + 6);
    }
}
