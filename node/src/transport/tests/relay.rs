//! A relay between a child and its parent that can go deaf.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Passes datagrams on until it is told not to.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    deaf: Arc<AtomicBool>,
    parent: Arc<Mutex<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(super) async fn to(parent: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let deaf = Arc::new(AtomicBool::new(false));
        let parent = Arc::new(Mutex::new(parent));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(front, parent.clone(), deaf.clone()));
        Self { address, deaf, parent, _tasks: tasks }
    }

    /// From here on everything goes to another address, as if the parent had been killed and had come back.
    pub(super) fn turn_to(&self, parent: SocketAddr) {
        *self.parent.lock().unwrap() = parent;
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }
}

async fn run(front: Arc<UdpSocket>, parent: Arc<Mutex<SocketAddr>>, deaf: Arc<AtomicBool>) {
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
                backs.insert(child, back.clone());
                tasks.spawn(backwards(back.clone(), front.clone(), child, deaf.clone()));
                back
            }
        };
        let to = *parent.lock().unwrap();
        let _ = back.send_to(&buffer[..length], to).await;
    }
}

async fn backwards(back: Arc<UdpSocket>, front: Arc<UdpSocket>, child: SocketAddr, deaf: Arc<AtomicBool>) {
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((length, _)) = back.recv_from(&mut buffer).await else { continue };
        if !deaf.load(Ordering::Relaxed) {
            let _ = front.send_to(&buffer[..length], child).await;
        }
    }
}
