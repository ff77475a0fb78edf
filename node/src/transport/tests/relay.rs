//! A relay between a child and its parent that can go deaf.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Passes datagrams on until it is told not to.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    deaf: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(super) async fn to(parent: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let deaf = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(front, parent, deaf.clone()));
        Self { address, deaf, _tasks: tasks }
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }
}

async fn run(front: Arc<UdpSocket>, parent: SocketAddr, deaf: Arc<AtomicBool>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((length, child)) = front.recv_from(&mut buffer).await else { continue };
        if deaf.load(Ordering::Relaxed) {
            continue;
        }
        let back = match backs.get(&child) {
            Some(back) => back.clone(),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(parent).await.unwrap();
                backs.insert(child, back.clone());
                tasks.spawn(backwards(back.clone(), front.clone(), child, deaf.clone()));
                back
            }
        };
        let _ = back.send(&buffer[..length]).await;
    }
}

async fn backwards(back: Arc<UdpSocket>, front: Arc<UdpSocket>, child: SocketAddr, deaf: Arc<AtomicBool>) {
    let mut buffer = vec![0; 65536];
    loop {
        // A parent that is away for a moment refuses; it comes back.
        let Ok(length) = back.recv(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if !deaf.load(Ordering::Relaxed) {
            let _ = front.send_to(&buffer[..length], child).await;
        }
    }
}
