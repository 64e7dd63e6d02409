//! Finding a thing on the home network and opening the link to it (SecT STEP 10-12).
//!
//! Every address is a hint: the last good one, what discovery brings, what the user said. All are tried
//! at the same time, and the first that proves the thing's PSK is the thing.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rand_core::Rng;
use tokio::time::{Instant, sleep, timeout_at};

use super::addresses::Addresses;
use super::clock;
use super::discover::Browse;
use super::exit::{Exit, Failure};
use super::keyring::Entry;
use crate::mqtt::client::{Destination, Link, LinkError, Step};
use crate::proto::credential::CtlrCredentials;
use crate::proto::id::ThingId;
use crate::proto::invitation::Invitation;
use crate::proto::keys::TlsPsk;
use crate::proto::pairing::binding::Binding;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};

/// Where the local server listens (protocol section 3).
pub const PORT: u16 = 8883;

/// The last good address gets this much of a start before the network is asked.
const HEAD_START: Duration = Duration::from_millis(200);
/// An address that did not do is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// One step of an attempt takes no longer, nor longer than a third of the search: an address that
/// swallows what it gets must be known as such when the search ends.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Addresses that discovery may add to a search: anybody on the network can announce, and each is
/// tried every second.
const MAX_ANNOUNCED: usize = 64;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Search {
    /// Look here alone.
    pub address: Option<String>,
    /// Browse this network interface alone.
    pub interface: Option<String>,
    /// Where things were last.
    pub addresses: Addresses,
    /// How long to look.
    pub patience: Duration,
    /// Whether a refusal may turn into a welcome: the thing is on its way.
    pub insist: bool,
    /// By which ways.
    pub ways: Ways,
}

impl Search {
    /// Whether there is an address to try at once.
    #[must_use]
    pub fn has_address(&self, thing: &ThingId) -> bool {
        self.address.is_some() || self.addresses.last(thing).is_some()
    }
}

/// By which ways a thing is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ways {
    /// All that there are.
    All,
    /// The home network alone.
    Local,
    /// The cloud servers alone.
    Remote,
}

/// An open link, and where it leads.
#[derive(Debug)]
pub struct Reached {
    /// The link; nothing is subscribed to yet.
    pub link: Link,
    /// Where the thing is.
    pub address: SocketAddr,
    /// The one topic that may be published to.
    pub publish_to: String,
    /// The one topic that may be subscribed to.
    pub listen_on: String,
}

type Attempt = BoxFuture<'static, (SocketAddr, Result<Reached, LinkError>)>;

/// What opens a link to one thing, wherever it is.
#[derive(Debug, Clone)]
struct Key {
    psk_identity: String,
    psk: TlsPsk,
    login: Option<CtlrCredentials>,
    publish_to: String,
    listen_on: String,
}

impl Key {
    /// A bound controller's (SecT STEP 7).
    fn of_binding(binding: &Binding) -> Self {
        let (identity, psk) = binding.psk();
        let login = Some(binding.credentials.clone());
        let (publish_to, listen_on) = (binding.topic.c2t(), binding.topic.t2c());
        Self { psk_identity: identity.to_string(), psk, login, publish_to, listen_on }
    }

    /// An invited one's (protocol section 9).
    fn of_invitation(invitation: &Invitation) -> Self {
        let (psk_identity, psk) = (invitation.psk_identity(), invitation.psk());
        let (publish_to, listen_on) = (PAIR_C2T.to_owned(), PAIR_T2C.to_owned());
        Self { psk_identity, psk, login: None, publish_to, listen_on }
    }

    fn destination(&self, address: SocketAddr) -> Destination {
        Destination {
            address,
            psk_identity: self.psk_identity.clone(),
            psk: self.psk.clone(),
            login: self.login.clone(),
            client_id: draw_client_id(),
        }
    }
}

/// What opens a link to a bound thing at an address.
#[must_use]
pub fn destination(binding: &Binding, address: SocketAddr) -> Destination {
    Key::of_binding(binding).destination(address)
}

/// Opens a link with whichever key and login the thing knows by now.
///
/// # Errors
///
/// [`LinkError`]; of several refusals the one that says most.
pub async fn open(binding: &Binding, address: SocketAddr, patience: Duration) -> Result<Reached, LinkError> {
    open_any(&keys_of(binding), address, patience).await
}

/// A key update and a renewal may have left more than one (protocol sections 6.6 and 8); the newest first.
fn keys_of(binding: &Binding) -> Vec<Key> {
    binding.guises().iter().map(Key::of_binding).collect()
}

async fn open_any(keys: &[Key], address: SocketAddr, patience: Duration) -> Result<Reached, LinkError> {
    let mut refused = None;
    let mut unknown = None;
    for key in keys {
        // The thing does not know this identity, whatever the login.
        if unknown == Some(&key.psk_identity) {
            continue;
        }
        match Link::open(&key.destination(address), patience).await {
            Ok(link) => {
                let (publish_to, listen_on) = (key.publish_to.clone(), key.listen_on.clone());
                return Ok(Reached { link, address, publish_to, listen_on });
            }
            Err(error @ LinkError::LoginRefused(_)) => refused = Some(error),
            Err(error @ (LinkError::KeyRefused | LinkError::NotTheThing)) => {
                unknown = Some(&key.psk_identity);
                refused = refused.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(LinkError::KeyRefused))
}

/// A client id for one link: letters and digits, which every MQTT server accepts (MQTT 3.1.3.1).
#[must_use]
pub fn draw_client_id() -> String {
    let mut bytes = [0; 8];
    clock::rng().fill_bytes(&mut bytes);
    format!("sect{}", data_encoding::HEXLOWER.encode(&bytes))
}

/// Finds the thing and opens a link.
///
/// # Errors
///
/// A [`Failure`] in a householder's words.
pub async fn reach(entry: &Entry, search: &Search) -> Result<Reached, Failure> {
    let mut hunt = Hunt::new(&entry.binding.thing, keys_of(&entry.binding), search.patience);
    hunt.seek(search).await?.ok_or_else(|| hunt.failure(entry, search))
}

/// Finds the thing that invites, and opens a link with the invitation's key.
///
/// # Errors
///
/// A [`Failure`] in a householder's words.
pub async fn reach_inviter(invitation: &Invitation, search: &Search) -> Result<Reached, Failure> {
    let mut hunt = Hunt::new(&invitation.thing, vec![Key::of_invitation(invitation)], search.patience);
    hunt.seek(search).await?.ok_or_else(|| hunt.failure_of_invitation(search))
}

/// `HOST[:PORT]`, every address of it.
///
/// # Errors
///
/// A [`Failure`] when that names nothing.
pub async fn resolve(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![SocketAddr::new(ip, PORT)]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse().map_err(|_| Failure::new(Exit::Usage, format!("{text} is no HOST[:PORT]")))?;
            (host, port)
        }
        None => (text, PORT),
    };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| Failure::new(Exit::NotFound, format!("there is no {host}: {error}")))?
        .collect();
    if found.is_empty() { Err(Failure::new(Exit::NotFound, format!("{host} has no address"))) } else { Ok(found) }
}

/// All attempts to reach one thing.
struct Hunt {
    thing: ThingId,
    keys: Vec<Key>,
    attempt_patience: Duration,
    candidates: BTreeSet<SocketAddr>,
    /// How many of them discovery has brought.
    announced: usize,
    attempts: FuturesUnordered<Attempt>,
    failures: Vec<(SocketAddr, LinkError)>,
}

impl Hunt {
    fn new(thing: &ThingId, keys: Vec<Key>, patience: Duration) -> Self {
        Self {
            thing: *thing,
            keys,
            attempt_patience: ATTEMPT.min(patience / 3),
            candidates: BTreeSet::new(),
            announced: 0,
            attempts: FuturesUnordered::new(),
            failures: Vec::new(),
        }
    }

    /// Looks where the search says; nothing when the time is over, or the given address is not the thing's.
    async fn seek(&mut self, search: &Search) -> Result<Option<Reached>, Failure> {
        let deadline = Instant::now() + search.patience;
        let found = match &search.address {
            Some(text) => {
                let candidates = timeout_at(deadline, resolve(text)).await.map_err(|_| {
                    Failure::new(Exit::Timeout, format!("the name {text} could not be looked up in time"))
                })??;
                candidates.into_iter().for_each(|address| self.consider(address));
                self.run(None, deadline, search.insist).await
            }
            None => {
                if let Some(address) = search.addresses.last(&self.thing) {
                    self.consider(address);
                }
                let head_start = if self.candidates.is_empty() { Duration::ZERO } else { HEAD_START };
                match timeout_at((Instant::now() + head_start).min(deadline), self.first_success()).await {
                    Ok(reached) => Some(reached),
                    Err(_) => {
                        let browse = Browse::start(search.interface.as_deref()).map_err(|error| {
                            Failure::new(Exit::Other, error.to_string()).next("say where the plug is with --address")
                        })?;
                        self.run(Some(browse), deadline, true).await
                    }
                }
            }
        };
        if let Some(reached) = &found {
            search.addresses.remember(&self.thing, reached.address);
        }
        Ok(found)
    }

    fn consider(&mut self, address: SocketAddr) {
        if self.candidates.insert(address) {
            self.attempt(address, Duration::ZERO);
        }
    }

    /// Whoever announces could otherwise let this computer knock at any address of the internet.
    fn consider_announced(&mut self, address: SocketAddr) {
        if !is_at_home(address.ip()) || self.candidates.contains(&address) {
            return;
        }
        if self.announced == MAX_ANNOUNCED {
            tracing::debug!(%address, "not tried: too many announcements");
            return;
        }
        self.announced += 1;
        self.consider(address);
    }

    fn attempt(&mut self, address: SocketAddr, after: Duration) {
        let (keys, patience) = (self.keys.clone(), self.attempt_patience);
        self.attempts.push(Box::pin(async move {
            sleep(after).await;
            (address, open_any(&keys, address, patience).await)
        }));
    }

    /// Tries what there is, and what discovery brings, until the deadline; without `insist`, until
    /// everything has failed once.
    async fn run(&mut self, mut browse: Option<Browse>, deadline: Instant, insist: bool) -> Option<Reached> {
        loop {
            let browsing = async {
                match &mut browse {
                    Some(browse) => browse.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((address, outcome)) = self.attempts.next() => match outcome {
                    Ok(reached) => return Some(reached),
                    Err(error) => self.failed(address, error, insist),
                },
                announced = browsing => match announced {
                    Some(announced) => announced.addresses.into_iter().for_each(|address| self.consider_announced(address)),
                    None => browse = None,
                },
                () = tokio::time::sleep_until(deadline) => return None,
                else => return None,
            }
            if !insist && self.attempts.is_empty() {
                return None;
            }
        }
    }

    /// The first attempt that succeeds; waits for ever when all fail.
    async fn first_success(&mut self) -> Reached {
        loop {
            match self.attempts.next().await {
                Some((_, Ok(reached))) => return reached,
                Some((address, Err(error))) => self.failed(address, error, true),
                None => std::future::pending().await,
            }
        }
    }

    fn failed(&mut self, address: SocketAddr, error: LinkError, again: bool) {
        tracing::debug!(%address, %error, "not reached");
        self.failures.retain(|(earlier, _)| *earlier != address);
        self.failures.push((address, error));
        if again {
            self.attempt(address, RETRY);
        }
    }

    fn failure(&self, entry: &Entry, search: &Search) -> Failure {
        let alias = &entry.alias;
        if let Some((_, LinkError::LoginRefused(_))) =
            self.failures.iter().find(|(_, error)| matches!(error, LinkError::LoginRefused(_)))
        {
            return Failure::new(Exit::Denied, format!("{alias} refused your login"))
                .next("were you removed from its users? Its owner can tell");
        }
        match (&search.address, self.failures.last()) {
            (Some(_), Some((address, error))) => of_link(alias.as_str(), *address, error),
            (Some(text), None) => Failure::new(Exit::Timeout, format!("{alias} did not answer at {text} in time"))
                .next("is it plugged in, and is that still its address?"),
            (None, _) if self.failures.iter().any(|(_, error)| is_silence(error)) => {
                Failure::new(Exit::Timeout, format!("{alias} does not answer"))
                    .next("it may be restarting, or far from its router: try again in a minute")
            }
            (None, _) => {
                let refusals = self
                    .failures
                    .iter()
                    .filter(|(_, error)| matches!(error, LinkError::KeyRefused | LinkError::NotTheThing))
                    .count();
                let message = match refusals {
                    0 => format!("{alias} is not on this network"),
                    1 => format!("{alias} is not on this network; one other plug is, or it does not know you any more"),
                    n => {
                        format!("{alias} is not on this network; {n} other plugs are, or it does not know you any more")
                    }
                };
                Failure::new(Exit::NotFound, message).next(match (entry.binding.confirmed, refusals) {
                    (false, _) => "its pairing was never confirmed: if its display shows a code, pair it again",
                    (true, 0) => "is it plugged in, and is this computer on the same network? If so, try --address",
                    // A plug says nothing to those it does not know, so nobody can tell the two apart from here.
                    (true, _) => {
                        "does its display show its name? Then it has removed you, or your keys were renewed on another \
                         computer: ask an owner to invite you again. If not, it is away: is it plugged in, and on this \
                         network?"
                    }
                })
            }
        }
    }

    /// Why nobody took the invitation.
    fn failure_of_invitation(&self, search: &Search) -> Failure {
        let used = "an invitation works once and for ten minutes: ask for a new one if it may be over";
        // Whoever ends an open link has proved the key: the plug that invited, and it hangs up on a second use.
        if self.failures.iter().any(|(_, error)| matches!(error, LinkError::Lost(_))) {
            return Failure::new(Exit::Crypto, "the plug does not take this invitation any more").next(
                "somebody has used it: if that was not you, tell the plug's owner; in any case ask for a new one",
            );
        }
        if self.failures.iter().any(|(_, error)| is_silence(error)) {
            return Failure::new(Exit::Timeout, "a plug does not answer").next("try again in a minute");
        }
        let refused = |error: &LinkError| matches!(error, LinkError::KeyRefused | LinkError::NotTheThing);
        let refusals = self.failures.iter().filter(|(_, error)| refused(error)).count();
        match (&search.address, refusals) {
            (Some(text), 0) => Failure::new(Exit::NotFound, format!("there is no plug at {text}"))
                .next("is it plugged in, and is that its address?"),
            (Some(text), _) => {
                Failure::new(Exit::Crypto, format!("what answers at {text} does not take this invitation")).next(used)
            }
            (None, 0) => Failure::new(Exit::NotFound, "there is no plug on this network")
                .next("let this computer join the home network of the plug; if it is there, try --address"),
            (None, n) => {
                let plugs = if n == 1 { "the plug on this network does" } else { "the plugs on this network do" };
                Failure::new(Exit::Crypto, format!("{plugs} not take this invitation"))
                    .next(format!("{used}; or this is not the home network of the plug that invites"))
            }
        }
    }
}

/// Whether an address is of a kind that exists in one home and not in the internet.
fn is_at_home(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// Whether something took the connection and then said nothing.
fn is_silence(error: &LinkError) -> bool {
    matches!(error, LinkError::TimedOut(Step::Handshake | Step::Login) | LinkError::Closed | LinkError::Lost(_))
}

/// What a failed link means for a bound thing at a given place.
fn of_link(alias: &str, address: SocketAddr, error: &LinkError) -> Failure {
    match error {
        LinkError::KeyRefused | LinkError::NotTheThing => Failure::new(
            Exit::Crypto,
            format!("what answers at {address} is not {alias}, or does not know you any more"),
        )
        .next("leave out --address to look for it; if it was set up anew, pair it again"),
        LinkError::LoginRefused(reason) => Failure::new(Exit::Denied, format!("{alias} refused your login: {reason}")),
        LinkError::SubscriptionRefused => Failure::new(Exit::Denied, format!("{alias} refused your topic")),
        LinkError::Unreachable { source, .. } => {
            Failure::new(Exit::NotFound, format!("{alias} is not at {address}: {source}"))
                .next("is it plugged in, and is that still its address?")
        }
        LinkError::TimedOut(_) | LinkError::Closed | LinkError::Lost(_) => {
            Failure::new(Exit::Timeout, format!("{alias} did not answer at {address}: {error}"))
        }
        LinkError::Setup(_) => Failure::new(Exit::Other, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::keyring::testing::entry;

    #[tokio::test]
    async fn a_plug_that_is_away_and_one_that_has_removed_you_are_both_named_where_they_look_the_same() {
        let mut lamp = entry("Lamp", 1);
        lamp.binding.confirmed = true;
        let search = Search {
            address: None,
            interface: None,
            addresses: Addresses::at("/nonexistent/addresses.json".into()),
            patience: Duration::from_secs(10),
            insist: false,
            ways: Ways::Local,
        };
        let mut hunt = Hunt::new(&lamp.binding.thing, keys_of(&lamp.binding), search.patience);
        let next = hunt.failure(&lamp, &search).next.expect("a next step");
        assert!(next.starts_with("is it plugged in") && !next.contains("removed"), "{next}");
        hunt.failures.push(("192.168.1.7:8883".parse().expect("an address"), LinkError::KeyRefused));
        let failure = hunt.failure(&lamp, &search);
        assert_eq!(failure.exit, Exit::NotFound);
        let next = failure.next.expect("a next step");
        assert!(next.contains("removed you") && next.contains("it is away"), "{next}");
    }

    #[tokio::test]
    async fn an_address_is_read_with_and_without_its_port() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1:8883"),
            ("127.0.0.1:40000", "127.0.0.1:40000"),
            ("::1", "[::1]:8883"),
            ("[::1]", "[::1]:8883"),
            ("[::1]:40000", "[::1]:40000"),
        ] {
            assert_eq!(resolve(text).await, Ok(vec![address.parse().expect("an address")]), "{text}");
        }
        assert_eq!(resolve("localhost:port").await.expect_err("refused").exit, Exit::Usage);
    }

    #[test]
    fn discovery_adds_few_addresses_and_none_of_the_internet() {
        let entry = entry("Kitchen", 1);
        let mut hunt = Hunt::new(&entry.binding.thing, keys_of(&entry.binding), Duration::from_secs(10));
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        for foreign in [
            "192.0.2.1:8883",
            "8.8.8.8:53",
            "172.32.0.1:8883",
            "0.0.0.0:8883",
            "224.0.0.251:5353",
            "255.255.255.255:8883",
            "[2001:db8::1]:8883",
            "[::ffff:8.8.8.8]:8883",
            "[::]:8883",
            "[ff02::fb]:5353",
        ] {
            hunt.consider_announced(address(foreign));
        }
        assert!(hunt.candidates.is_empty(), "{:?}", hunt.candidates);
        let at_home = [
            "192.168.1.9:8883",
            "10.0.0.9:8883",
            "172.16.0.9:8883",
            "169.254.9.9:8883",
            "127.0.0.1:8883",
            "[fd00::9]:8883",
            "[fe80::9]:8883",
            "[::1]:8883",
        ];
        for _ in 0..100 {
            at_home.iter().for_each(|at_home| hunt.consider_announced(address(at_home)));
        }
        assert_eq!(hunt.candidates.len(), at_home.len());
        // Where it was last is tried whatever discovery says.
        for port in 1..1000 {
            hunt.consider_announced(SocketAddr::from(([10, 0, 0, 1], port)));
        }
        assert_eq!((hunt.candidates.len(), hunt.attempts.len()), (MAX_ANNOUNCED, MAX_ANNOUNCED));
        hunt.consider(address("192.0.2.1:8883"));
        assert_eq!(hunt.candidates.len(), MAX_ANNOUNCED + 1);
    }

    #[tokio::test]
    async fn what_is_there_decides_what_the_user_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = Addresses::at(folder.path().join("addresses.json"));
        let mut search = Search {
            address: None,
            interface: Some("lo".to_owned()),
            addresses: addresses.clone(),
            patience: Duration::from_millis(300),
            insist: false,
            ways: Ways::Local,
        };
        let entry = entry("Kitchen", 1);

        // Takes connections into its backlog and never says a word.
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = mute.local_addr().expect("bound").to_string();
        search.address = Some(address);
        let failure = reach(&entry, &search).await.expect_err("mute");
        assert_eq!(failure.exit, Exit::Timeout, "{failure:?}");

        // No TLS: it cannot know the key.
        let foreign = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let (mut stream, _) = mute.accept().await.expect("a connection");
            let (mut again, _) = mute.accept().await.expect("a connection");
            for stream in [&mut stream, &mut again] {
                stream.write_all(b"220 mail.example\r\n").await.expect("sent");
            }
            sleep(Duration::from_secs(5)).await;
        });
        let failure = reach(&entry, &search).await.expect_err("foreign");
        assert_eq!(failure.exit, Exit::Crypto, "{failure:?}");
        foreign.abort();
        assert!(foreign.await.is_err_and(|ended| ended.is_cancelled()));

        // Nobody listens any more.
        let failure = reach(&entry, &search).await.expect_err("nobody");
        assert_eq!(failure.exit, Exit::NotFound, "{failure:?}");
        assert_eq!(addresses.last(&entry.binding.thing), None, "only what proved the key is remembered");
    }
}
