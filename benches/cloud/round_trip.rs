//! The round trip that is measured: a controller's message through the server to the plug, and the plug's
//! through the server to the controller.
//!
//! One thread plays both ends, so that of four wake-ups only the server's two and the two of this thread
//! count, and nothing is done in between.

use std::io;
use std::time::{Duration, Instant};

use crate::households::{Household, to_controller, to_thing};
use crate::packets;
use crate::server::Server;
use crate::wire::Wire;

/// Bytes of the smallest sealed message (protocol section 2).
const PAYLOAD: [u8; 399] = [b'x'; 399];

/// Households that talk in turn: no account sends more often than it may.
pub struct Talk {
    pairs: Vec<Pair>,
    plugs: Vec<Wire>,
    next: usize,
}

struct Pair {
    controller: Wire,
    /// Which of the plugs.
    plug: usize,
    command: Vec<u8>,
    answer: Vec<u8>,
}

impl Talk {
    /// Opens the sessions of these households.
    pub fn start(server: &Server, households: &[Household]) -> io::Result<Self> {
        let plugs = households.iter().map(|household| Wire::open(server, &household.plug()));
        let plugs = plugs.collect::<io::Result<Vec<_>>>()?;
        let mut pairs = Vec::new();
        for (plug, household) in households.iter().enumerate() {
            for account in household.accounts() {
                let controller = Wire::open(server, &household.controller(account))?;
                let command = packets::publish(&to_thing(account), &PAYLOAD);
                let answer = packets::publish(&to_controller(account), &PAYLOAD);
                pairs.push(Pair { controller, plug, command, answer });
            }
        }
        Ok(Self { pairs, plugs, next: 0 })
    }

    /// Accounts that take turns.
    pub fn accounts(&self) -> usize {
        self.pairs.len()
    }

    /// Bytes of a command's packet, before TLS; an answer has as many.
    pub fn packet_bytes(&self) -> usize {
        self.pairs.first().map_or(0, |pair| pair.command.len())
    }

    /// One round trip of the account whose turn it is.
    pub fn round_trip(&mut self) -> io::Result<Duration> {
        let turn = self.next;
        self.next = (turn + 1) % self.pairs.len();
        let Pair { controller, plug, command, answer } = &mut self.pairs[turn];
        let plug = &mut self.plugs[*plug];
        let started = Instant::now();
        controller.send(command)?;
        let (first, body) = plug.receive()?;
        packets::expect_message(first, body, &PAYLOAD)?;
        plug.send(answer)?;
        let (first, body) = controller.receive()?;
        packets::expect_message(first, body, &PAYLOAD)?;
        Ok(started.elapsed())
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Taken(Vec<Duration>);

impl Taken {
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// In microseconds.
    pub fn quantile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).map_or(f64::NAN, |took| took.as_nanos() as f64 / 1000.0)
    }
}
