//! Somebody with a hand in the runtime folder: the simulated radio's socket and the button's FIFO.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::arena::Arena;

#[tokio::test]
async fn garbage_endless_lines_and_a_hundred_stations_at_the_radio_stop_nobody() {
    let mut arena = Arena::open().await;
    let radio = arena.plug.radio();
    arena
        .withstands(move || {
            let mut held = Vec::new();
            for at in 0..100_usize {
                let mut station = UnixStream::connect(&radio).expect("it listens");
                station.set_nonblocking(true).expect("a socket");
                let said = match at % 4 {
                    0 => vec![0xff; 5000],
                    1 => vec![b'x'; 200_000],
                    2 => b"{\"ssid\":\"SecT-0000\",\"passphrase\":\"0123456789ABCDEF\"}\n".to_vec(),
                    _ => Vec::new(),
                };
                let _ = station.write_all(&said);
                held.push(station);
            }
            std::thread::sleep(Duration::from_secs(2));
            // Who asked for a network that is not on the air is told so; nobody is told anything else.
            for mut station in held {
                let mut heard = Vec::new();
                let _ = station.read_to_end(&mut heard);
                assert!(heard.is_empty() || heard.starts_with(b"{\"ok\":false"), "{}", heard.escape_ascii());
            }
        })
        .await;
}

#[tokio::test]
async fn noise_and_a_line_of_a_megabyte_are_no_press() {
    let mut arena = Arena::open().await;
    let button = arena.plug.button();
    let before = arena.plug.log_text().matches("a line that is no press").count();
    arena
        .withstands(move || {
            let mut button = OpenOptions::new().write(true).open(button).expect("the button");
            button.write_all(&[0; 10_000]).expect("written");
            button.write_all(&[b'\n'; 1000]).expect("written");
            for _ in 0..16 {
                button.write_all(&[b's'; 65_536]).expect("written");
            }
            button.write_all(b"short\nlonger\nSHORT\n\xff\xfeshort\n").expect("written");
        })
        .await;
    // The first line is too long, and so is the one of a megabyte; three short ones follow that are no press either.
    let passed_over = || arena.plug.log_text().matches("a line that is no press").count() - before;
    crate::support::wait_for("the noise to be passed over", || (passed_over() == 999 + 3).then_some(()));
    // The button itself still works: `withstands` left the load on.
    assert!(arena.plug.outlet_is_on());
    arena.plug.press("short");
    crate::support::wait_for("the press", || (!arena.plug.outlet_is_on()).then_some(()));
}

#[tokio::test]
async fn a_button_that_never_stops_talking_does_not_keep_the_plug_from_its_people() {
    let mut arena = Arena::open().await;
    let button = arena.plug.button();
    arena
        .withstands(move || {
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let mut button = OpenOptions::new().write(true).custom_flags(nonblocking).open(button).expect("the button");
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(3) {
                let _ = button.write(&[b'x'; 4096]);
            }
            let _ = button.write(b"\n");
        })
        .await;
}
