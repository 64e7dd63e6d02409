//! A local server that runs out of file descriptors. On its own, because the limit is the whole process's.

#[path = "local_server/client.rs"]
#[allow(dead_code, reason = "this test needs a part of the client")]
mod client;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "one client, and nothing of another age")]
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sect::proto::secret::Secret;
use sect::thing::local_server::{Admission, Limits, LocalServer, NewSessions, WhenFull};
use tokio::net::TcpSocket;

use self::client::{Client, Who};

const PAIR: Who = Who { identity: "pair", key: [0x9a; 32], login: None, from: 1 };

fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").expect("a list").count() as u64
}

async fn run<T>(server: &mut LocalServer, client: impl Future<Output = T>) -> T {
    tokio::pin!(client);
    loop {
        tokio::select! {
            biased;
            _ = server.next() => {}
            outcome = &mut client => return outcome,
        }
    }
}

#[tokio::test]
async fn a_server_without_descriptors_serves_its_sessions_and_recovers() {
    let mut server = LocalServer::new(Limits::default()).expect("a server");
    server.admit(vec![Admission {
        psk_identity: PAIR.identity.into(),
        key: Secret::new(PAIR.key),
        login: None,
        publish: "sect/pair/c".into(),
        subscribe: "sect/pair/t".into(),
        max_sessions: 2,
        when_full: WhenFull::Refuse,
        new_sessions: NewSessions::Open,
    }]);
    let address = server.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let (mut session, code) = run(&mut server, Client::connect(address, &PAIR, 4, "first")).await;
    assert_eq!(code, 0);

    let sockets: Vec<TcpSocket> = (0..20).map(|_| TcpSocket::new_v4().expect("a socket")).collect();
    let before = getrlimit(Resource::Nofile);
    // The list of descriptors is itself one; three more are left for the server.
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors() - 1 + 3), ..before }).expect("a lower limit");
    let mut strangers = Vec::new();
    for socket in sockets {
        strangers.push(socket.connect(address).await.expect("the kernel takes it"));
    }
    let begun = Instant::now();
    run(&mut server, async {
        while begun.elapsed() < Duration::from_millis(300) {
            assert!(session.ping().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let counters = server.counters();
    assert!(counters.accepted < 10, "there was no room for more: {counters:?}");
    assert_eq!(counters.accept_errors, 1, "one try, then a pause");
    assert_eq!(counters.handshakes_displaced, 1, "a stranger made room");

    setrlimit(Resource::Nofile, before).expect("the old limit");
    let (mut second, code) = run(&mut server, Client::connect(address, &PAIR, 4, "second")).await;
    assert_eq!(code, 0);
    assert!(run(&mut server, async { session.ping().await && second.ping().await }).await);
    drop(strangers);
}
