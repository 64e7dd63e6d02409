//! The same forwarder without a runtime: a thread for each session that blocks until its client says
//! something, and two system calls for each message, to read it and to write it.
//!
//! No server for thousands of sessions is built so; it shows what waiting for many at once costs the
//! other forwarder and everybody else.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection};

use crate::floor::{Place, tls};
use crate::packets::{self, Incoming};

/// Who hears a topic.
type Hearers = Arc<Mutex<HashMap<Vec<u8>, Arc<Session>>>>;

struct Session {
    tcp: TcpStream,
    tls: Mutex<ServerConnection>,
}

/// Forwards until the process is ended.
pub fn play(place: &Place) -> anyhow::Result<()> {
    let (config, hearers) = (tls(place)?, Hearers::default());
    let [things, controllers] = [place.things, place.controllers].map(|port| {
        let (config, hearers) = (config.clone(), hearers.clone());
        thread::spawn(move || listen(port, &config, &hearers))
    });
    things.join().expect("it does not panic")?;
    controllers.join().expect("it does not panic")?;
    Ok(())
}

fn listen(port: u16, config: &Arc<ServerConfig>, hearers: &Hearers) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (tcp, _) = listener.accept()?;
        tcp.set_nodelay(true)?;
        let tls = Mutex::new(ServerConnection::new(config.clone()).map_err(io::Error::other)?);
        let (session, hearers) = (Arc::new(Session { tcp, tls }), hearers.clone());
        thread::Builder::new().stack_size(64 * 1024).spawn(move || session.serve(&hearers))?;
    }
}

impl Session {
    fn serve(self: &Arc<Self>, hearers: &Hearers) -> io::Result<()> {
        let (mut records, mut packet) = ([0; 4096], [0; 4096]);
        loop {
            let count = (&self.tcp).read(&mut records)?;
            let mut rest = &records[..count];
            if rest.is_empty() {
                return Ok(());
            }
            while !rest.is_empty() {
                let count = {
                    let mut tls = lock(&self.tls);
                    tls.read_tls(&mut rest)?;
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    // The handshake has something to say.
                    self.flush(&mut tls)?;
                    match state.plaintext_bytes_to_read() {
                        0 => 0,
                        _ => tls.reader().read(&mut packet)?,
                    }
                };
                if count > 0 {
                    self.take(&packet[..count], hearers)?;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, packet: &[u8], hearers: &Hearers) -> io::Result<()> {
        match packets::incoming(packet).ok_or(io::ErrorKind::InvalidData)? {
            Incoming::Connect => self.write(&packets::accept()),
            Incoming::Subscribe(topics) => {
                for topic in &topics {
                    lock(hearers).insert(topic.to_vec(), self.clone());
                }
                self.write(&packets::grant(topics.len()))
            }
            Incoming::Publish(topic) => {
                let hearer = lock(hearers).get(topic).cloned();
                hearer.map_or(Ok(()), |hearer| hearer.write(packet))
            }
        }
    }

    fn write(&self, packet: &[u8]) -> io::Result<()> {
        let mut tls = lock(&self.tls);
        tls.writer().write_all(packet)?;
        self.flush(&mut tls)
    }

    fn flush(&self, tls: &mut ServerConnection) -> io::Result<()> {
        while tls.wants_write() {
            tls.write_tls(&mut &self.tcp)?;
        }
        Ok(())
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
