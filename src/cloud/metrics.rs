//! What the server counts, as Prometheus reads it, on loopback.
//!
//! Strangers leave a number here and no line in the log. No label holds an address, a name or a topic.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A number that only rises.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn one(&self) {
        self.add(1);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! denials {
    ($($(#[$doc:meta])* $name:ident $label:literal,)*) => {
        /// What was not done, by reason.
        #[derive(Default)]
        pub(super) struct Denials {
            $($(#[$doc])* pub(super) $name: Counter,)*
        }

        impl Denials {
            fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$name.value()),)*].into_iter()
            }
        }
    };
}

denials! {
    /// All places are taken.
    connections "connections",
    /// The places of one address are.
    address "address",
    /// A handshake failed: protocol, certificate, garbage.
    handshake "handshake",
    /// A handshake took too long.
    handshake_late "handshake_late",
    /// A certificate of the manufacturer that names no thing.
    identity "identity",
    /// No CONNECT, or not in time.
    connect "connect",
    /// Wrong user name or password.
    credentials "credentials",
    /// A will, or another wish that SecT does not have.
    login "login",
    /// A publish to a topic without the right to it.
    publish_topic "publish_topic",
    /// A subscription without the right to it.
    subscribe_topic "subscribe_topic",
    /// A message for somebody who has lost the right to it.
    delivery "delivery",
    /// More than ten messages a second.
    rate "rate",
    /// A client that does not read.
    slow_reader "slow_reader",
    /// Retained, QoS 2, or against the rules of MQTT.
    protocol "protocol",
    /// A packet beyond 8 KiB.
    too_large "too_large",
    /// What a thing registered is no list, or there were too many at once.
    registration "registration",
}

/// All numbers.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) accepted: Counter,
    pub(super) accept_errors: Counter,
    pub(super) logged_in: [Counter; 2],
    pub(super) logged_out: [Counter; 2],
    pub(super) forwarded: Counter,
    pub(super) unheard: Counter,
    pub(super) denials: Denials,
    pub(super) handshakes: Histogram,
    pub(super) registrations: Counter,
    pub(super) entries_refused: Counter,
    pub(super) clones: Counter,
    pub(super) store_failures: Counter,
}

/// Numbers that somebody else knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gauges {
    pub(super) connections: usize,
    pub(super) things: usize,
    pub(super) accounts: usize,
}

impl Metrics {
    /// The text format of Prometheus.
    pub(super) fn render(&self, gauges: Gauges) -> String {
        let mut text = String::new();
        let mut counter = |name: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(text, "# HELP sect_cloud_{name} {help}\n# TYPE sect_cloud_{name} counter");
            for (labels, value) in values {
                let _ = writeln!(text, "sect_cloud_{name}{labels} {value}");
            }
        };
        let one = |counter: &Counter| [("", counter.value())];
        counter("connections_total", "TCP connections taken", &one(&self.accepted));
        counter("accept_errors_total", "Failures to take a connection", &one(&self.accept_errors));
        let sides = |counters: &[Counter; 2]| {
            [("{side=\"thing\"}", counters[0].value()), ("{side=\"controller\"}", counters[1].value())]
        };
        counter("logins_total", "Sessions opened", &sides(&self.logged_in));
        counter("forwards_total", "Messages handed to a session", &one(&self.forwarded));
        counter("unheard_total", "Messages that nobody was there for", &one(&self.unheard));
        counter("registrations_total", "Lists taken", &one(&self.registrations));
        counter("refused_entries_total", "Entries that another thing holds", &one(&self.entries_refused));
        counter("clones_total", "Registrations that only a twin would send", &one(&self.clones));
        counter("store_failures_total", "Registrations that could not be stored", &one(&self.store_failures));
        let _ = writeln!(
            text,
            "# HELP sect_cloud_denials_total What was not done\n# TYPE sect_cloud_denials_total counter"
        );
        for (reason, value) in self.denials.all() {
            let _ = writeln!(text, "sect_cloud_denials_total{{reason=\"{reason}\"}} {value}");
        }
        let mut gauge = |name: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(text, "# HELP sect_cloud_{name} {help}\n# TYPE sect_cloud_{name} gauge");
            for (labels, value) in values {
                let _ = writeln!(text, "sect_cloud_{name}{labels} {value}");
            }
        };
        gauge("connections", "TCP connections open", &[("", gauges.connections as u64)]);
        let open = |side: usize| self.logged_in[side].value().saturating_sub(self.logged_out[side].value());
        gauge("sessions", "Sessions open", &[("{side=\"thing\"}", open(0)), ("{side=\"controller\"}", open(1))]);
        gauge("things", "Things that have registered", &[("", gauges.things as u64)]);
        gauge("accounts", "Accounts in force", &[("", gauges.accounts as u64)]);
        self.handshakes.render(&mut text);
        text
    }
}

/// How long handshakes take.
#[derive(Default)]
pub(super) struct Histogram {
    buckets: [Counter; BOUNDS_MS.len()],
    count: Counter,
    sum_us: Counter,
}

impl Histogram {
    pub(super) fn observe(&self, time: Duration) {
        let at = BOUNDS_MS.iter().position(|bound| time <= Duration::from_millis(*bound));
        if let Some(at) = at {
            self.buckets[at].one();
        }
        self.count.one();
        self.sum_us.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn render(&self, text: &mut String) {
        let name = "sect_cloud_handshake_seconds";
        let _ = writeln!(
            text,
            "# HELP {name} From the connection to the end of its TLS handshake\n# TYPE {name} histogram"
        );
        let mut total = 0;
        for (bound, bucket) in BOUNDS_MS.iter().zip(&self.buckets) {
            total += bucket.value();
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {total}", *bound as f64 / 1000.0);
        }
        let count = self.count.value();
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {}", self.sum_us.value() as f64 / 1e6);
        let _ = writeln!(text, "{name}_count {count}");
    }
}

/// Answers every `GET /metrics` on `address`, a few at a time.
///
/// # Errors
///
/// When the address cannot be had.
pub(super) async fn listen(
    address: SocketAddr,
    render: impl Fn() -> String + Send + Sync + 'static,
) -> std::io::Result<impl Future<Output = ()>> {
    let listener = TcpListener::bind(address).await?;
    let render = Arc::new(render);
    let places = Arc::new(Semaphore::new(READERS));
    Ok(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let render = render.clone();
                    tokio::spawn(async move {
                        let _ = timeout(ANSWER_WITHIN, answer(stream, &*render)).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    })
}

async fn answer(mut stream: TcpStream, render: &(impl Fn() -> String + ?Sized)) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", render())
    } else {
        ("404 Not Found", "the numbers are at /metrics\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Upper bounds of the histogram's buckets.
const BOUNDS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 1000, 2500, 10_000];
/// Requests answered at the same time.
const READERS: usize = 4;
const REQUEST_BYTES: usize = 8192;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let metrics = Metrics::default();
        metrics.denials.publish_topic.add(3);
        metrics.logged_in[1].add(5);
        metrics.logged_out[1].add(2);
        metrics.handshakes.observe(Duration::from_millis(3));
        metrics.handshakes.observe(Duration::from_secs(60));
        let text = metrics.render(Gauges { connections: 7, things: 1, accounts: 4 });
        for line in [
            "sect_cloud_denials_total{reason=\"publish_topic\"} 3",
            "sect_cloud_sessions{side=\"controller\"} 3",
            "sect_cloud_connections 7",
            "sect_cloud_handshake_seconds_bucket{le=\"0.002\"} 0",
            "sect_cloud_handshake_seconds_bucket{le=\"0.005\"} 1",
            "sect_cloud_handshake_seconds_bucket{le=\"10\"} 1",
            "sect_cloud_handshake_seconds_bucket{le=\"+Inf\"} 2",
            "sect_cloud_handshake_seconds_sum 60.003",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("sect_cloud_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
