//! Data communication as a controller does it (SecT STEP 12): the round trip that is measured.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sect::proto::envelope::{self, EnvelopeKey, Sealed};
use sect::proto::id::{Boot, Nonce};
use sect::proto::json;
use sect::proto::message::{Event, Response, ReturnCode, Status};
use sect::proto::operation::Operation;
use sect::proto::pairing::binding::Binding;
use sect::proto::time::Micros;
use sect::thing::clock::{OsRng, os_rng};

use crate::wire::{Login, Wire};

/// Bytes of the two MQTT packets of a command, before TLS.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// The command's.
    pub command: usize,
    /// The answer's.
    pub answer: usize,
}

/// A controller in a session, with the thing's time at hand.
pub struct Talk {
    wire: Wire,
    c2t: EnvelopeKey,
    t2c: EnvelopeKey,
    topic: String,
    boot: Boot,
    /// The newest thing time, and when it was heard.
    heard: (Micros, Instant),
    last_sent: Micros,
    on: bool,
    rng: OsRng,
    sizes: Sizes,
}

/// A session of this binding; `client_id` must differ between those at the same time.
pub fn open(address: SocketAddr, binding: &Binding, client_id: &str) -> io::Result<Wire> {
    let (psk_id, psk) = binding.psk();
    let credentials = &binding.credentials;
    let user = Some((credentials.user.expose(), credentials.password.expose()));
    Wire::open(address, &Login { psk_identity: psk_id.to_string(), psk, user, client_id })
}

impl Talk {
    /// Takes over a session: subscribes, asks for state and time.
    pub fn start(mut wire: Wire, binding: &Binding) -> io::Result<Self> {
        wire.subscribe(&binding.topic.t2c())?;
        let keys = binding.keys();
        let mut talk = Self {
            wire,
            c2t: keys.c2t,
            t2c: keys.t2c,
            topic: binding.topic.c2t(),
            boot: Boot::new([0; 16]),
            heard: (Micros::ZERO, Instant::now()),
            last_sent: Micros::ZERO,
            on: false,
            rng: os_rng(),
            sizes: Sizes::default(),
        };
        let status = json::encode(&Status { id: Nonce::random(&mut talk.rng) });
        talk.exchange(&status)?;
        Ok(talk)
    }

    /// The sizes of the last command and its answer.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Switches to the other state. From before the command is written and sealed until its answer is
    /// opened and read.
    pub fn command(&mut self) -> io::Result<Duration> {
        let started = Instant::now();
        let ts = self.heard.0.after(self.heard.1.elapsed()).max(Micros::new(self.last_sent.get() + 1));
        self.last_sent = ts;
        let on = !self.on;
        let command = Operation::outlet(on).command(self.boot, ts);
        self.exchange(&command)?;
        let took = started.elapsed();
        if self.on == on { Ok(took) } else { Err(io::Error::other("the outlet was not switched")) }
    }

    /// Sends a request and takes its answer; what others have done meanwhile is passed over.
    fn exchange(&mut self, text: &[u8]) -> io::Result<()> {
        let request = self.c2t.seal(text, &mut self.rng).expect("a request is short");
        let command = self.wire.publish(&self.topic, &request)?;
        loop {
            let (jwe, answer) = self.wire.receive()?;
            let opened = Sealed::parse(jwe).and_then(|sealed| sealed.open(&self.t2c)).map_err(io::Error::other)?;
            let response = match json::read::<Response<'_>>(opened.bytes()) {
                Ok(response) => response,
                Err(_) if json::read::<Event<'_>>(opened.bytes()).is_ok() => continue,
                Err(error) => return Err(io::Error::other(error)),
            };
            if response.re != envelope::request_id(&request) || response.rc != ReturnCode::Ok {
                return Err(io::Error::other(format!("answered with {:?}", response.rc)));
            }
            self.sizes = Sizes { command, answer };
            self.boot = response.boot;
            self.heard = (response.ts, Instant::now());
            self.on = response.st.on;
            return Ok(());
        }
    }
}
