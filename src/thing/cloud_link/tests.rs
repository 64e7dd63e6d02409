//! The thing's cloud links against real TLS servers on loopback.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::mqtt::client::testing::{Authority, Certified, Listener};
use crate::proto::id::SpkiHash;

/// How long a test waits for what must happen at once; a wait of the first backoff fits in.
const SOON: Duration = Duration::from_secs(20);
const SERVER: ServerId = ServerId(0);
const HOUR: Duration = Duration::from_secs(3600);

/// A thing with its device certificate, and the one who made it.
struct Factory {
    folder: TempDir,
    manufacturer: Authority,
    cloud: Authority,
    thing: ThingId,
}

impl Factory {
    fn new() -> Self {
        let thing = ThingId::of(&SpkiHash::new([7; 32]));
        let factory = Self {
            folder: tempfile::tempdir().expect("a folder"),
            manufacturer: Authority::new("manufacturer"),
            cloud: Authority::new("cloud"),
            thing,
        };
        factory.install(&factory.manufacturer.device(&thing.to_string()));
        factory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, label: &str, der: &[u8]) {
        let text = data_encoding::BASE64.encode(der);
        let path = self.path(name);
        fs::write(&path, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    }

    fn install(&self, device: &Certified) {
        self.write("device.crt", "CERTIFICATE", &device.certificate);
        self.write("device.key", "PRIVATE KEY", &device.key.pkcs8());
    }

    fn config(&self, address: SocketAddr) -> Config {
        let (folder, port, pin) = (self.folder.path().display(), address.port(), self.cloud.pin());
        let text =
            format!("state-dir = \"{folder}\"\n[[cloud]]\nhost = \"localhost\"\nport = {port}\npin = \"{pin}\"\n");
        Config::parse("sectd.toml".as_ref(), &text).expect("valid")
    }

    fn links(&self, address: SocketAddr) -> CloudLinks {
        CloudLinks::open(&self.config(address), &self.thing).expect("links")
    }

    async fn listener(&self) -> Listener {
        Listener::new(&self.cloud.server(|_| {}), &self.cloud, Some(&self.manufacturer)).await
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it happens soon")
}

/// A port of loopback on which nobody listens.
async fn nowhere() -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    socket.local_addr().expect("bound")
}

#[tokio::test]
async fn a_link_carries_messages_both_ways_and_comes_back_by_itself() {
    let factory = Factory::new();
    let listener = factory.listener().await;
    let mut links = factory.links(listener.address());
    assert!(!links.publish(SERVER, "up", b"early".to_vec(), Delivery::AtLeastOnce), "stopped");
    links.start().expect("a thread");
    links.start().expect("once is enough");

    let (mut session, connect) = soon(listener.welcome()).await;
    // MQTT 3.1.1, a clean session, no will, no user name, no password, 50 s (3.1.2).
    assert_eq!(connect[2..12], [0, 4, b'M', b'Q', b'T', b'T', 4, 0b10, 0, 50]);
    assert_eq!(soon(links.next()).await, CloudEvent::Up { server: SERVER });
    assert!(links.is_up(SERVER));

    assert!(links.subscribe(SERVER, "down", Delivery::AtLeastOnce));
    assert_eq!(soon(session.grant()).await, "down");
    let subscribed = CloudEvent::Subscribed { server: SERVER, topic: "down".to_owned(), granted: true };
    assert_eq!(soon(links.next()).await, subscribed);
    assert!(links.publish(SERVER, "up", b"first".to_vec(), Delivery::AtMostOnce));
    assert_eq!(soon(session.published()).await, ("up".to_owned(), b"first".to_vec()));
    session.publish("down", b"hello").await;
    let message = CloudEvent::Message { server: SERVER, topic: "down".to_owned(), payload: b"hello".to_vec() };
    assert_eq!(soon(links.next()).await, message);

    session.close().await;
    assert_eq!(soon(links.next()).await, CloudEvent::Down { server: SERVER, reason: CloudFailure::Lost });
    assert!(!links.is_up(SERVER));
    assert!(!links.publish(SERVER, "up", b"lost".to_vec(), Delivery::AtLeastOnce), "dropped, not queued");

    let (mut session, _) = soon(listener.welcome()).await;
    assert_eq!(soon(links.next()).await, CloudEvent::Up { server: SERVER });
    assert!(links.publish(SERVER, "up", b"second".to_vec(), Delivery::AtMostOnce));
    assert_eq!(soon(session.published()).await, ("up".to_owned(), b"second".to_vec()), "and nothing before it");
}

#[tokio::test]
async fn a_server_that_lets_nobody_hear_its_answers_is_left_and_tried_again() {
    let factory = Factory::new();
    let listener = factory.listener().await;
    let mut links = factory.links(listener.address());
    links.start().expect("a thread");
    let answers = down_topic(&factory.thing);
    for _ in 0..2 {
        let (mut session, _) = soon(listener.welcome()).await;
        assert_eq!(soon(links.next()).await, CloudEvent::Up { server: SERVER });
        // Without a controller's topic the link is worth something all the same.
        assert!(links.subscribe(SERVER, "s/1/c", Delivery::AtLeastOnce));
        assert_eq!(soon(session.refuse()).await, "s/1/c");
        let refused = CloudEvent::Subscribed { server: SERVER, topic: "s/1/c".to_owned(), granted: false };
        assert_eq!(soon(links.next()).await, refused);
        assert!(links.subscribe(SERVER, &answers, Delivery::AtLeastOnce));
        assert_eq!(soon(session.refuse()).await, answers);
        assert_eq!(soon(links.next()).await, CloudEvent::Down { server: SERVER, reason: CloudFailure::Refused });
        assert_eq!(soon(session.packet()).await, [0xe0, 0], "DISCONNECT");
    }
}

#[tokio::test]
async fn stopped_links_say_goodbye_and_nothing_more() {
    let factory = Factory::new();
    let listener = factory.listener().await;
    let mut links = factory.links(listener.address());
    for _ in 0..2 {
        links.start().expect("a thread");
        let (mut session, _) = soon(listener.welcome()).await;
        assert_eq!(soon(links.next()).await, CloudEvent::Up { server: SERVER });
        assert_eq!(links.stop(), [SERVER]);
        assert_eq!((links.is_up(SERVER), links.stop()), (false, Vec::new()));
        assert_eq!(soon(session.packet()).await, [0xe0, 0], "DISCONNECT");
        assert!(timeout(Duration::from_millis(50), links.next()).await.is_err(), "nothing happens");
    }
    links.start().expect("a thread");
    let (mut session, _) = soon(listener.welcome()).await;
    assert_eq!(soon(links.next()).await, CloudEvent::Up { server: SERVER });
    let goodbye = soon(async { tokio::join!(links.shut_down(HOUR), session.packet()).1 }).await;
    assert_eq!(goodbye, [0xe0, 0], "DISCONNECT");
}

#[tokio::test]
async fn a_server_that_is_away_is_no_reason_to_wait() {
    let factory = Factory::new();
    let address = nowhere().await;
    let mut links = factory.links(address);
    links.start().expect("a thread");
    assert_eq!(soon(links.next()).await, CloudEvent::Down { server: SERVER, reason: CloudFailure::Unreachable });
    // While it tries again and again, ending it takes no time.
    soon(links.shut_down(HOUR)).await;
}

#[tokio::test]
async fn every_wrong_server_is_told_from_the_others() {
    let factory = Factory::new();
    let other = Authority::new("cloud");
    let elsewhere = factory.cloud.server(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("cloud.example".try_into().expect("a name"))];
    });
    let right = factory.cloud.server(|_| {});
    let cases = [
        (Listener::new(&other.server(|_| {}), &other, None).await, CloudFailure::WrongAuthority),
        (Listener::new(&elsewhere, &factory.cloud, None).await, CloudFailure::WrongName),
        (Listener::new(&right, &factory.cloud, Some(&other)).await, CloudFailure::Refused),
    ];
    for (listener, reason) in cases {
        let mut links = factory.links(listener.address());
        links.start().expect("a thread");
        let (event, served) = soon(async { tokio::join!(links.next(), listener.accept()) }).await;
        assert_eq!(event, CloudEvent::Down { server: SERVER, reason });
        assert!(served.is_err(), "no MQTT is spoken");
    }
}

#[tokio::test]
async fn what_is_not_there_or_does_not_fit_is_said_before_anything_starts() {
    let factory = Factory::new();
    let config = factory.config(nowhere().await);
    let problem = |config: &Config| CloudLinks::open(config, &factory.thing).expect_err("refused").to_string();

    let mut of_a_file = config.clone();
    (of_a_file.cloud[0].pin, of_a_file.cloud[0].ca) = (None, Some(factory.path("ca.crt")));
    assert!(problem(&of_a_file).starts_with("cannot read "), "{}", problem(&of_a_file));
    factory.write("ca.crt", "CERTIFICATE", &factory.cloud.certificate);
    let links = CloudLinks::open(&of_a_file, &factory.thing).expect("links");
    let told = CloudServer { host: "localhost".to_owned(), port: 8884, pin: factory.cloud.pin() };
    assert_eq!(links.for_controllers(), [told]);

    let key = factory.path("device.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
    assert!(problem(&config).ends_with("chmod 600 it"), "{}", problem(&config));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");

    factory.write("device.key", "PRIVATE KEY", &factory.manufacturer.device("x").key.pkcs8());
    assert!(problem(&config).ends_with("the key is not that of the certificate"), "{}", problem(&config));
    factory.install(&factory.manufacturer.device("0123456789abcdef"));
    assert!(problem(&config).contains("is for another thing"), "{}", problem(&config));

    let none = CloudLinks::open(&Config::default(), &factory.thing).expect("no cloud, no files");
    assert!(none.for_controllers().is_empty());
}

#[tokio::test]
async fn an_idle_link_wakes_nobody() {
    let factory = Factory::new();
    let listener = factory.listener().await;
    let mut links = factory.links(listener.address());
    links.start_thread("idle-links").expect("a thread");
    let (_session, _) = soon(listener.welcome()).await;
    assert_eq!(soon(links.next()).await, CloudEvent::Up { server: SERVER });
    // The login may leave something to do on a busy machine; what comes again and again comes in each window.
    let mut quiet = false;
    for _ in 0..4 {
        let before = wake_ups("idle-links");
        tokio::time::sleep(Duration::from_secs(2)).await;
        quiet = quiet || wake_ups("idle-links") == before;
        if quiet {
            break;
        }
    }
    assert!(quiet, "it wakes up without a message");
}

/// How often the thread of this name has gone to sleep, which is how often it was awake.
fn wake_ups(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let threads: Vec<_> = tasks
        .flatten()
        .map(|task| task.path())
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name))
        .collect();
    assert_eq!(threads.len(), 1, "one thread for all servers");
    let status = fs::read_to_string(threads[0].join("status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("Linux");
    line.trim().parse().expect("a number")
}

/// A keeper on the clock of the test, and the other ends of its channels.
fn keeper(factory: &Factory, address: SocketAddr) -> (Keeper, mpsc::Sender<Command>, mpsc::Receiver<CloudEvent>) {
    let destination = factory.links(address).servers[SERVER.0].destination.clone();
    let (commands_in, commands) = mpsc::channel(COMMANDS);
    let (events_in, events) = mpsc::channel(EVENTS);
    let answers = down_topic(&factory.thing);
    (Keeper { server: SERVER, destination, answers, commands, events: events_in }, commands_in, events)
}

/// Waits for the next attempt on the test's clock; what comes over the network then takes real time.
async fn first_words(
    listener: &Listener,
    events: &mut mpsc::Receiver<CloudEvent>,
) -> (crate::mqtt::client::testing::Session, Option<CloudEvent>) {
    let arrival = listener.arrival().await;
    tokio::time::resume();
    let ((session, _), event) = tokio::join!(listener.log_in(arrival), events.recv());
    (session, event)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_for_a_day_costs_little_and_is_back_within_five_minutes() {
    let factory = Factory::new();
    let address = nowhere().await;
    let (keeper, _commands, mut events) = keeper(&factory, address);
    let kept = tokio::spawn(keeper.keep());

    let (start, day) = (tokio::time::Instant::now(), 24 * HOUR);
    let (mut attempts, mut longest, mut last) = (0, Duration::ZERO, start);
    while start.elapsed() < day {
        let unreachable = CloudEvent::Down { server: SERVER, reason: CloudFailure::Unreachable };
        assert_eq!(events.recv().await, Some(unreachable));
        (attempts, longest) = (attempts + 1, longest.max(last.elapsed()));
        last = tokio::time::Instant::now();
    }
    // One for each 150 s on average: 582, with a deviation of 14; ten of these are room enough. Whoever
    // tried each second would come 86,400 times.
    assert!((440..=725).contains(&attempts), "{attempts} attempts");
    assert!(longest <= Duration::from_secs(301), "{longest:?}");

    let listener =
        Listener::on(address, &factory.cloud.server(|_| {}), &factory.cloud, Some(&factory.manufacturer)).await;
    let back = tokio::time::Instant::now();
    let (session, event) = first_words(&listener, &mut events).await;
    assert_eq!(event, Some(CloudEvent::Up { server: SERVER }));
    assert!(back.elapsed() <= Duration::from_secs(301), "{:?}", back.elapsed());
    drop(session);
    kept.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drops_every_link_is_no_more_often_tried() {
    let factory = Factory::new();
    let listener = factory.listener().await;
    let (keeper, _commands, mut events) = keeper(&factory, listener.address());
    let kept = tokio::spawn(keeper.keep());
    let start = tokio::time::Instant::now();
    let mut links = 0;
    while start.elapsed() < 2 * HOUR {
        let (session, event) = first_words(&listener, &mut events).await;
        assert_eq!(event, Some(CloudEvent::Up { server: SERVER }));
        session.close().await;
        assert_eq!(events.recv().await, Some(CloudEvent::Down { server: SERVER, reason: CloudFailure::Lost }));
        tokio::time::pause();
        links += 1;
    }
    // 8 while the waits grow, then one for each 150 s.
    assert!((25..=90).contains(&links), "{links} links");
    kept.abort();
}
