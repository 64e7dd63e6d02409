//! Attackers without any key.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::raw::{self, Raw, tcp};
use crate::support::line::Line;

/// The attackers' loopback addresses: none of them is Ana's.
fn sources() -> impl Iterator<Item = u8> {
    (50..150).cycle()
}

/// Sends bytes, closes its side, and gives what came back.
fn say(server: SocketAddr, from: u8, bytes: &[u8]) -> Vec<u8> {
    let Ok(mut stream) = tcp(server, from) else { return Vec::new() };
    // It may have been closed before all is written.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    raw::read_all(stream)
}

fn assert_is_nothing_or_an_alert(answer: &[u8], to: &str) {
    assert!(answer.is_empty() || answer.len() == 7 && answer[0] == 0x15, "{to} got {answer:02x?}");
}

#[tokio::test]
async fn garbage_gets_an_alert_or_nothing() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    arena
        .withstands(move || {
            let mut from = sources();
            for round in 0..40_u8 {
                for (name, bytes) in [
                    ("plain MQTT", raw::connect(4, "me", None)),
                    ("HTTP", b"GET / HTTP/1.1\r\nHost: plug\r\n\r\n".to_vec()),
                    ("an empty record", b"\x16\x03\x01\x00\x00".to_vec()),
                    ("a record of the largest size", [b"\x16\x03\x01\xff\xff".as_slice(), &[1; 70_000]].concat()),
                    ("a ClientHello of nothing", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec()),
                    ("an alert", b"\x15\x03\x03\x00\x02\x02\x28".to_vec()),
                    ("application data", [b"\x17\x03\x03\x40\x00".as_slice(), &[round; 16_384]].concat()),
                    ("noise", (0..5000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ round).collect()),
                ] {
                    assert_is_nothing_or_an_alert(&say(server, from.next().expect("endless"), &bytes), name);
                }
                sleep(Duration::from_millis(50));
            }
        })
        .await;
    // Most of it came to TLS, and none further.
    assert!(arena.plug.log_text().matches("handshake failed").count() > 150);
}

#[tokio::test]
async fn a_client_of_tls_1_2_or_of_certificates_is_refused() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    let (identity, key) = arena.mallory.psk();
    let (identity, key) = (identity.to_string(), *key.expose());
    arena
        .withstands(move || {
            for from in 50..70 {
                // The right key in the wrong protocol.
                assert!(Raw::tls_with(server, from, &identity, key, raw::tls12_only).is_err());
                let no_psk = Raw::tls_with(server, from, &identity, key, |context| {
                    context.set_psk_client_callback(|_, _, _, _| Ok(0));
                });
                assert!(no_psk.is_err());
            }
        })
        .await;
}

#[tokio::test]
async fn a_huge_client_hello_is_bounded() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    arena
        .withstands(move || {
            // Handshake messages that claim 16 MB, or nearly the most that OpenSSL takes, in full records; of
            // the latter the last bytes never come.
            let mut held = Vec::new();
            for (round, from) in (0..64).zip(sources()) {
                let Ok(mut stream) = tcp(server, from) else { continue };
                stream.set_nonblocking(true).expect("a socket");
                let claims = if round % 2 == 0 { [0xff, 0xff, 0xff] } else { [0x01, 0xff, 0xf0] };
                let mut message = vec![1_u8];
                message.extend(claims);
                message.resize(131_000, 0x33);
                for fragment in message.chunks(16_384) {
                    let size = (fragment.len() as u16).to_be_bytes();
                    let _ = stream.write_all(&[b"\x16\x03\x01".as_slice(), &size, fragment].concat());
                    sleep(Duration::from_millis(1));
                }
                held.push(stream);
            }
            sleep(Duration::from_secs(1));
        })
        .await;
}

#[tokio::test]
async fn two_hundred_half_open_sockets_keep_nobody_out() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    let held = arena
        .withstands(move || {
            let mut held = Vec::new();
            for (at, from) in (0..200).zip(sources()) {
                let mut stream = tcp(server, from).expect("a connection");
                if at % 2 == 0 {
                    let _ = stream.write_all(b"\x16\x03\x01\x02");
                }
                held.push(stream);
                sleep(Duration::from_millis(10));
            }
            held
        })
        .await;
    // They are all held, and a newcomer has got in (`withstands` has tried); another one does.
    assert_eq!(held.len(), 200);
    Line::open(&arena.plug, &arena.ana).await.expect("a session");
    drop(held);
}

#[tokio::test]
async fn senders_of_one_byte_a_second_are_given_up_after_10_s() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    arena
        .withstands(move || {
            // A ClientHello that would be complete in ten minutes.
            let hello = [b"\x16\x03\x01\x02\x58\x01\x00\x02\x54\x03\x03".as_slice(), &[7; 600]].concat();
            let mut slow: Vec<TcpStream> = (50..90).map(|from| tcp(server, from).expect("a connection")).collect();
            for byte in hello.iter().take(12) {
                for stream in &mut slow {
                    let _ = stream.write_all(&[*byte]);
                }
                sleep(Duration::from_secs(1));
            }
            for stream in slow {
                stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
                let mut byte = [0];
                let ended = match std::io::Read::read(&mut &stream, &mut byte) {
                    Ok(count) => count == 0,
                    Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                };
                assert!(ended, "still there after 12 s");
            }
        })
        .await;
}

/// 10,000 connections, in a third of a minute where the machine is fast enough, so that what each one leaves
/// behind adds up: connect, say nothing or a few bytes, and go.
fn flood(server: SocketAddr, sources: impl Iterator<Item = u8>) -> usize {
    let (started, mut made) = (Instant::now(), 0);
    for (at, from) in (0..10_000_u32).zip(sources) {
        if let Ok(mut stream) = tcp(server, from) {
            made += 1;
            if at % 3 == 0 {
                let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01");
            }
        }
        let due = Duration::from_millis(2) * at;
        sleep(due.saturating_sub(started.elapsed()));
    }
    println!("{made} connections in {:?}", started.elapsed());
    made
}

#[tokio::test]
async fn ten_thousand_connections_a_minute_from_one_address_starve_nobody() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    let made = arena.withstands(move || flood(server, std::iter::repeat(66))).await;
    assert!(made > 9000, "{made}");
    assert!(arena.plug.log_text().contains("connection refused: too many"));
}

#[tokio::test]
async fn ten_thousand_connections_a_minute_from_everywhere_starve_nobody() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    let made = arena.withstands(move || flood(server, sources())).await;
    assert!(made > 9000, "{made}");
    assert!(arena.plug.log_text().contains("connection refused: too many"));
}

#[tokio::test]
async fn a_flood_from_the_honest_ones_own_address_ends_no_session() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    let made = arena.withstands(move || flood(server, std::iter::repeat(1))).await;
    assert!(made > 9000, "{made}");
}

#[tokio::test]
async fn an_unknown_identity_fails_as_a_wrong_key_does() {
    let mut arena = Arena::open().await;
    let server = arena.server();
    let known = arena.ana.psk().0.to_string();
    arena
        .withstands(move || {
            let refusal = |from, identity: &str, key| {
                let refused = Raw::tls(server, from, identity, [key; 32]).err().expect("refused");
                assert!(refused.contains("alert"), "{refused}");
                refused
            };
            for from in 50..65 {
                let wrong_key = refusal(from, &known, from);
                for unknown in ["AAAAAAAAAAAAAAAAAAAAAA", "pair", "iAAAAAAAAAAA", "x", &"y".repeat(127)] {
                    assert_eq!(refusal(from, unknown, from), wrong_key);
                }
            }
        })
        .await;
}

#[tokio::test]
async fn garbage_at_the_announcement_is_passed_over() {
    let mut arena = Arena::open().await;
    arena
        .withstands(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            rustix::net::sockopt::set_ip_multicast_if(&socket, &Ipv4Addr::LOCALHOST).expect("loopback");
            for round in 0..3000_usize {
                // A query for what everything is, answers that lie about their length, names that point at
                // themselves, noise.
                let datagram = match round % 5 {
                    0 => b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05_sect\x04_tcp\x05local\x00\x00\xff\x00\x01".to_vec(),
                    1 => b"\x00\x00\x84\x00\x00\x00\xff\xff\xff\xff\xff\xff".to_vec(),
                    2 => b"\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x0a\xff\xff".to_vec(),
                    3 => vec![round as u8; 1 + round % 1400],
                    _ => Vec::new(),
                };
                let _ = socket.send_to(&datagram, "224.0.0.251:5353");
                if round % 50 == 0 {
                    sleep(Duration::from_millis(10));
                }
            }
        })
        .await;
}
