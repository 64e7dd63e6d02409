//! A plug at home with two people: Ana, who is honest, and Mallory, whose keys the attacker has.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use sect::proto::credential::CtlrCredentials;
use sect::proto::id::Cid;
use sect::proto::keys::MasterKey;
use sect::proto::message::ReturnCode;
use sect::proto::pairing::binding::Binding;
use sect::proto::secret::Secret;
use sect::proto::signature::SigningKey;
use sect::proto::topic::TToken;
use sect::thing::clock::os_rng;

use crate::support::Plug;
use crate::support::line::{self, Line};

/// An honest switch, `status` before it included, is answered within this, whatever goes on.
pub(crate) const PROMPT: Duration = Duration::from_secs(2);
/// By then the limit on connections has recovered, and a new session opens at the first try or at a later one.
pub(crate) const RECOVERY: Duration = Duration::from_secs(10);
/// Resident memory that an attack may leave behind.
pub(crate) const LEFT_KIB: u64 = 2 * 1024;
/// Resident memory that an attack may cost while it goes on: 16 handshakes with the largest
/// ClientHello that OpenSSL takes, 40 sessions with what each may leave unread.
pub(crate) const PEAK_KIB: u64 = 4 * 1024;

/// What the plug calls the attacker.
pub(crate) const MALLORY: &str = "Mallory";

/// What of a process an attack must not move.
#[derive(Debug)]
pub(crate) struct Vitals {
    resident_kib: u64,
    loud_lines: usize,
}

impl Vitals {
    /// Takes them, and begins a new count of the peak.
    pub(crate) fn of(plug: &Plug) -> Self {
        // proc(5): 5 resets the peak of the resident set.
        fs::write(format!("/proc/{}/clear_refs", plug.pid()), "5").expect("its own child");
        Self { resident_kib: memory_kib(plug, "VmRSS:"), loud_lines: loud_lines(plug).len() }
    }

    /// Holds the plug to them; `more_lines` are what the attack may add to the log.
    pub(crate) fn hold(&self, plug: &Plug, more_lines: usize) {
        let peak = memory_kib(plug, "VmHWM:").saturating_sub(self.resident_kib);
        let left = memory_kib(plug, "VmRSS:").saturating_sub(self.resident_kib);
        println!("resident {} KiB before; {peak} KiB more at the peak, {left} KiB more afterwards", self.resident_kib);
        assert!(peak <= PEAK_KIB, "{peak} KiB at the peak");
        assert!(left <= LEFT_KIB, "{left} KiB left behind");
        let loud = loud_lines(plug);
        assert!(loud.len() <= self.loud_lines + more_lines, "the log grew: {:#?}", &loud[self.loud_lines..]);
    }
}

fn memory_kib(plug: &Plug, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", plug.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("proc(5)");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The lines of the log at INFO and above.
pub(crate) fn loud_lines(plug: &Plug) -> Vec<String> {
    let is_loud = |line: &&str| [" INFO ", " WARN ", " ERROR "].iter().any(|level| line.contains(level));
    plug.log_text().lines().filter(is_loud).map(str::to_owned).collect()
}

/// The two people and their plug.
pub(crate) struct Arena {
    pub(crate) plug: Plug,
    pub(crate) ana: Binding,
    pub(crate) mallory: Binding,
    /// Ana's session while the attack goes on.
    pub(crate) line: Line,
}

impl Arena {
    pub(crate) async fn open() -> Self {
        let mut plug = Plug::unclaimed();
        let ana = line::claim(&plug).await;
        plug.power_cut();
        let mallory = invite(&plug, &ana);
        plug.power_on();
        plug.wait_until_online();
        let mut line = Line::open(&plug, &ana).await.expect("a session");
        // What the first of anything costs is not the attack's.
        for on in [true, false] {
            assert_eq!(line.switch(on).await.1.rc, Some(ReturnCode::Ok));
        }
        Self { plug, ana, mallory, line }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.plug.home()
    }

    /// A session of Mallory's that speaks SecT.
    pub(crate) async fn mallorys_line(&self) -> Line {
        Line::open(&self.plug, &self.mallory).await.expect("a session")
    }

    /// Holds the plug to everything while the attack goes on, on a thread of its own.
    pub(crate) async fn withstands<T: Send + 'static>(&mut self, attack: impl FnOnce() -> T + Send + 'static) -> T {
        let attack = tokio::task::spawn_blocking(attack);
        self.withstands_future(async { attack.await.expect("the attack itself works") }).await
    }

    /// The same for an attack that speaks SecT.
    pub(crate) async fn withstands_future<T>(&mut self, attack: impl Future<Output = T>) -> T {
        let before = Vitals::of(&self.plug);
        let over = Cell::new(false);
        let attack = async {
            let outcome = attack.await;
            over.set(true);
            outcome
        };
        let line = &mut self.line;
        let honest = async {
            let (mut on, mut slowest) = (true, Duration::ZERO);
            // Once more after the attack.
            loop {
                let last = over.get();
                let started = Instant::now();
                assert_eq!(line.switch(on).await.1.rc, Some(ReturnCode::Ok));
                slowest = slowest.max(started.elapsed());
                on = !on;
                if last {
                    return slowest;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        };
        let (outcome, slowest) = tokio::join!(attack, honest);
        println!("slowest honest switch: {slowest:?}");
        assert!(slowest <= PROMPT, "an honest switch took {slowest:?}");
        self.serves_a_newcomer().await;
        before.hold(&self.plug, 0);
        outcome
    }

    async fn serves_a_newcomer(&mut self) {
        assert!(self.plug.is_running());
        let started = Instant::now();
        let mut line = loop {
            match Line::open(&self.plug, &self.ana).await {
                Ok(line) => break line,
                Err(error) => assert!(started.elapsed() < RECOVERY, "no new session: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(line.switch(true).await.1.rc, Some(ReturnCode::Ok));
        assert!(self.plug.outlet_is_on());
    }
}

/// Gives the plug a second user, an operator, as the owner's invitation would.
fn invite(plug: &Plug, owner: &Binding) -> Binding {
    let mut rng = os_rng();
    let key = SigningKey::random(&mut rng);
    let mallory = Binding {
        cid: Cid::random(&mut rng),
        topic: TToken::random(&mut rng),
        credentials: CtlrCredentials::random(&mut rng),
        master: MasterKey::from_stored(Secret::random(&mut rng)),
        key: key.scalar(),
        name: MALLORY.parse().expect("valid"),
        ..owner.clone()
    };
    let database = Connection::open(plug.state().join("thing.db")).expect("the store");
    let inserted = database.execute(
        "INSERT INTO controller (cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key)
         VALUES (?1, ?2, 'operator', ?3, ?4, ?5, ?6, 0, ?7)",
        params![
            mallory.cid.as_bytes(),
            mallory.name.as_str(),
            key.spki().as_der(),
            mallory.topic.as_str(),
            mallory.credentials.user.expose(),
            mallory.credentials.password.expose(),
            mallory.master.expose(),
        ],
    );
    assert_eq!(inserted, Ok(1));
    mallory
}
