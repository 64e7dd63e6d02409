//! The daemon: all is wired on this page, and one loop owns the machine.
//!
//! Whatever happens (a message, a press, the radio, a deadline, a signal) wakes the loop, goes to
//! [`Thing`] as one call, and what the machine then asks for is done before the next event. No task,
//! channel or lock lies between a command and the click.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, Sleep, sleep};
use tracing::{debug, info, warn};

use super::announce::{AnnouncedNames, Announcement};
use super::button::Button;
use super::clock::{self, Alarm, Clock, OsRng};
use super::cloud_link::{CloudEvent, CloudLinks};
use super::config::Config;
use super::display::{self, Display};
use super::held::Held;
use super::led::Led;
use super::local_server::{Admission, Limits, LocalServer, Login, ServerEvent, WhenFull};
use super::notify;
use super::outlet::OutletDriver;
use super::runtime_dir;
use super::stand_by;
use super::stop::StopSignals;
use super::store::{Store, StoreError};
use super::wall_clock::WallClockWatch;
use super::watchdog::Watchdog;
use super::wifi::{Wifi, WifiReport};
use crate::mqtt::client::Delivery;
use crate::mqtt::server::Qos;
use crate::proto::action::{self, Action, CloudFailure, Fault, JoinFailure, Screen, WifiEvent};
use crate::proto::certificate::ThingIdentity;
use crate::proto::id::Boot;
use crate::proto::message::OutletState;
use crate::proto::port::Ports;
use crate::proto::thing::{Start, StartCause, Thing, Verdict};
use crate::proto::topic::PAIR_T2C;

/// How long sessions may take to end when the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a screen may wait. A display takes longer than a command: whoever switches twice in a row
/// does not wait for the first screen, and then sees the second one only.
const DRAWN_WITHIN: Duration = Duration::from_millis(50);
/// How long a line of the audit log waits for others; a power cut loses those that do. However much is switched,
/// the disk is written once in this time.
const FLUSHED_WITHIN: Duration = Duration::from_secs(60);

/// Runs until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
///
/// When something that the daemon cannot do without does not open; the message says what.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen().context("could not listen for signals")?;
    runtime_dir::prepare(&config.runtime_dir)
        .with_context(|| format!("cannot use the runtime folder {}", config.runtime_dir.display()))?;
    // Also where the store is lost, so that nothing else keeps a test at the bench away.
    let _occupied = runtime_dir::occupy(&config.runtime_dir);
    let mut display = display::open(config).context("could not open the display")?;

    let mut rng = clock::os_rng();
    let opened = Store::open(&config.state_dir, || ThingIdentity::create(&mut rng).to_stored());
    // Where another daemon runs, what the display shows is not ours to change.
    if !matches!(opened, Err(StoreError::InUse)) {
        display.show(&Screen::Starting);
    }
    let opened = match opened {
        Err(error @ (StoreError::ClaimedButLost | StoreError::Corrupt { .. } | StoreError::Newer)) => {
            // A thing that was claimed and lost its store, or may have been, must not become claimable: it says so
            // and waits for a person (protocol section 7).
            let fault = match error {
                StoreError::Newer => "fault: the store was written by a newer sectd",
                _ => "fault: the store is lost or damaged",
            };
            warn!(%error, "standing by: restore the state folder from a backup");
            display.show(&Screen::Fault(Fault::Store));
            stand_by::wait_for(stop.recv(), fault).await;
            notify::stopping();
            return Ok(());
        }
        opened => opened.context("could not open the store")?,
    };
    let Some(lines) = Lines::open(config, &mut *display, &mut stop).await? else {
        notify::stopping();
        return Ok(());
    };
    let mut daemon = Daemon::start(config, opened, lines, display, rng)?;
    notify::ready();
    daemon.serve(&mut stop).await;
    notify::stopping();
    daemon.stop().await;
    Ok(())
}

/// What a plug cannot do without.
struct Lines {
    outlet: (OutletDriver, OutletState),
    button: Button,
}

impl Lines {
    /// `None` where it was told to stop before they opened.
    async fn open(config: &Config, display: &mut dyn Display, stop: &mut StopSignals) -> anyhow::Result<Option<Self>> {
        let is_managed = notify::is_managed();
        let mut stopped = pin!(stop.recv());
        let mut held = Held::from_service_manager();
        let open = || OutletDriver::take_over(config, std::mem::take(&mut held));
        let say = || display.show(&Screen::Fault(Fault::Outlet));
        let Some(outlet) = stand_by::until_open("outlet", is_managed, stopped.as_mut(), open, say).await? else {
            return Ok(None);
        };
        let open = || Button::open(config);
        let Some(button) = stand_by::until_open("button", is_managed, stopped, open, || {}).await? else {
            return Ok(None);
        };
        Ok(Some(Self { outlet, button }))
    }
}

struct Daemon<'a> {
    config: &'a Config,
    thing: Thing,
    clock: Clock,
    alarm: Alarm,
    rng: OsRng,
    store: Store,
    outlet: OutletDriver,
    display: Box<dyn Display>,
    /// What the display shall show next.
    screen: Option<Screen>,
    /// Whether what it shows may be garbled.
    garbled: bool,
    /// When it shall: set once for each screen, not each time that the loop turns.
    draw_at: Pin<Box<Sleep>>,
    button: Button,
    led: Led,
    wifi: Wifi,
    server: LocalServer,
    clouds: CloudLinks,
    names: AnnouncedNames,
    announcement: Option<Announcement>,
    wall_clock: WallClockWatch,
    /// Whether something of the audit log waits to go to the disk.
    flushes: bool,
    /// When it goes: set once for each flush, not each time that the loop turns.
    flush_at: Pin<Box<Sleep>>,
    watchdog: Watchdog,
}

/// Lends the machine its ports without lending it the daemon.
macro_rules! ports {
    ($daemon:ident) => {
        &mut Ports { outlet: &mut $daemon.outlet, vault: &mut $daemon.store, air: &$daemon.wifi, rng: &mut $daemon.rng }
    };
}

impl<'a> Daemon<'a> {
    fn start(
        config: &'a Config,
        (mut store, stored): (Store, crate::proto::record::Stored),
        Lines { outlet: (mut outlet, outlet_state), button }: Lines,
        display: Box<dyn Display>,
        mut rng: OsRng,
    ) -> anyhow::Result<Self> {
        let wifi = Wifi::open(config).context("could not open the radio")?;
        let server = LocalServer::new(Limits::default()).context("could not set up the local server")?;
        let clock = Clock::start();
        let alarm = clock.alarm().context("could not get a timer")?;

        let identity =
            ThingIdentity::from_stored(&stored.identity).context("the thing's own certificate is damaged")?;
        let clouds = CloudLinks::open(config, &identity.id()).unwrap_or_else(|error| {
            warn!(%error, "no cloud server: the plug works at home alone");
            CloudLinks::none()
        });
        let names = AnnouncedNames::random(&mut rng);
        let cause =
            if runtime_dir::is_power_up(&config.runtime_dir) { StartCause::PowerUp } else { StartCause::Restart };
        let (boot, clouds_named) = (Boot::random(&mut rng), clouds.for_controllers());
        let start = Start { stored, boot, outlet: outlet_state, cause, clouds: clouds_named };
        let mut ports = Ports { outlet: &mut outlet, vault: &mut store, air: &wifi, rng: &mut rng };
        let thing = Thing::start(start, clock.now(), &mut ports).context("the thing's own certificate is damaged")?;
        // Without the mark the next restart would look like a power cut, and switch.
        runtime_dir::mark_powered(&config.runtime_dir).context("could not write into the runtime folder")?;
        info!(thing = %thing.id(), claimed = thing.is_claimed(), ?cause, "started");
        Ok(Self {
            config,
            thing,
            clock,
            alarm,
            rng,
            store,
            outlet,
            display,
            screen: None,
            garbled: false,
            draw_at: Box::pin(sleep(Duration::ZERO)),
            button,
            led: Led::open(config),
            wifi,
            server,
            clouds,
            names,
            announcement: None,
            wall_clock: WallClockWatch::open(config),
            flushes: false,
            flush_at: Box::pin(sleep(Duration::ZERO)),
            watchdog: Watchdog::from_environment(),
        })
    }

    /// The loop.
    async fn serve(&mut self, stop: &mut StopSignals) {
        let mut stop = pin!(stop.recv());
        loop {
            while let Some(action) = self.thing.poll_action() {
                self.execute(action);
            }
            self.notice_spike();
            self.plan_flush();
            let deadline = self.thing.poll_timeout();
            let clock_wanted = self.thing.wants_clock();
            tokio::select! {
                event = self.server.next() => self.handle_server(event),
                report = self.wifi.next() => self.handle_wifi(report).await,
                event = self.clouds.next() => self.handle_cloud(event),
                press = self.button.next() => self.thing.handle_press(press, self.clock.now(), ports!(self)),
                () = self.alarm.wait_until(deadline) => self.thing.handle_timeout(self.clock.now(), ports!(self)),
                () = &mut self.draw_at, if self.screen.is_some() || self.garbled => self.draw(),
                () = &mut self.flush_at, if self.flushes => self.flush(),
                unix_ms = self.wall_clock.next(clock_wanted) => {
                    info!(unix_ms, "the time of day is known");
                    self.thing.handle_wall_clock(unix_ms, self.clock.now());
                }
                () = self.led.turn() => {}
                () = self.watchdog.turn() => {}
                () = &mut stop => return,
            }
        }
    }

    fn handle_server(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Opened { session, psk_identity } => {
                self.thing.handle_session_opened(session.into(), &psk_identity);
            }
            ServerEvent::Published { session, message } => {
                let was_claimed = self.thing.is_claimed();
                let now = self.clock.now();
                let verdict =
                    self.thing.handle_publish(session.into(), message.topic(), message.payload(), now, ports!(self));
                log_verdict(verdict, self.thing.counters().get(verdict.name()));
                if !was_claimed && self.thing.is_claimed() {
                    info!(target: "audit", thing = %self.thing.id(), "claimed by its first owner");
                }
            }
            ServerEvent::Acknowledged { session } => {
                self.thing.handle_acknowledged(session.into(), self.clock.now());
            }
            ServerEvent::Closed { session } => {
                self.thing.handle_session_closed(session.into(), self.clock.now(), ports!(self));
            }
            ServerEvent::Refused { psk_identity } => {
                self.thing.handle_refused(&psk_identity, self.clock.now(), ports!(self));
            }
            ServerEvent::Subscribed { session } => {
                self.thing.handle_subscribed(session.into(), self.clock.now(), ports!(self));
            }
        }
    }

    /// What a cloud server says is judged by the machine; it never moves more than its own link.
    fn handle_cloud(&mut self, event: CloudEvent) {
        match event {
            CloudEvent::Up { server } => {
                self.thing.handle_cloud_up(server);
            }
            CloudEvent::Message { server, topic, payload } => {
                let now = self.clock.now();
                let verdict = self.thing.handle_cloud_message(server, &topic, &payload, now, ports!(self));
                log_verdict(verdict, self.thing.counters().get(verdict.name()));
            }
            CloudEvent::Down { server, reason } => {
                debug!(server = server.0, ?reason, "cloud server not connected");
                self.thing.handle_cloud_down(server, reason);
            }
            CloudEvent::Subscribed { server, topic, granted: true } => {
                self.thing.handle_cloud_subscribed(server, &topic, self.clock.now());
            }
            CloudEvent::Subscribed { server, granted: false, .. } => {
                warn!(server = server.0, "the cloud server refuses a topic that is ours");
            }
        }
    }

    /// The server listens where the radio is, and nowhere else.
    async fn handle_wifi(&mut self, WifiReport { event, address }: WifiReport) {
        let event = match (event, address) {
            (WifiEvent::AccessPointUp, Some(address)) => {
                if self.listen(address).await {
                    event
                } else {
                    WifiEvent::AccessPointFailed
                }
            }
            (WifiEvent::Joined, Some(address)) => {
                if self.listen(address).await {
                    self.announce(address);
                    self.reach_out();
                    event
                } else {
                    WifiEvent::JoinFailed(JoinFailure::Other)
                }
            }
            (WifiEvent::AccessPointUp, None) => WifiEvent::AccessPointFailed,
            (WifiEvent::Joined, None) => WifiEvent::JoinFailed(JoinFailure::Other),
            (WifiEvent::Lost, _) => {
                // Who is connected has lost the thing, and would hold a place in vain.
                self.leave_the_air();
                self.server.leave_network();
                event
            }
            (WifiEvent::AccessPointFailed | WifiEvent::JoinFailed(_), _) => event,
        };
        info!(?event, "radio");
        self.thing.handle_wifi(event, self.clock.now(), ports!(self));
    }

    async fn listen(&mut self, address: IpAddr) -> bool {
        let address = SocketAddr::new(address, self.config.local_server.port);
        match self.server.listen(address).await {
            Ok(address) => {
                info!(%address, "local server listens");
                true
            }
            Err(error) => {
                warn!(%address, %error, "the local server cannot listen");
                false
            }
        }
    }

    /// SecT STEP 10, 11: an answer to who looks for a plug.
    fn announce(&mut self, address: IpAddr) {
        self.announcement = None;
        if !self.config.announce.enabled {
            return;
        }
        let (interface, port) = (self.config.announce.interface.as_deref(), self.config.local_server.port);
        match Announcement::start(&self.names, interface, address, port) {
            Ok(announcement) => self.announcement = Some(announcement),
            Err(error) => warn!(%error, "not announced: controllers must be told the address"),
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Show(screen) => {
                if self.screen.replace(screen).is_none() && !self.garbled {
                    self.draw_at.as_mut().reset(Instant::now() + DRAWN_WITHIN);
                }
            }
            Action::OpenAccessPoint { ssid, passphrase } => {
                self.leave_the_air();
                self.wifi.open_access_point(&ssid, &passphrase);
            }
            Action::CloseAccessPoint => {
                self.leave_the_air();
                self.wifi.close();
            }
            Action::JoinNetwork(network) => {
                self.leave_the_air();
                self.wifi.join(&network);
            }
            Action::Admit(admissions) => self.server.admit(admissions.into_iter().map(admission).collect()),
            Action::SendPairing { session, payload } => {
                self.server.publish_to(session.into(), PAIR_T2C, &payload, Qos::AtLeastOnce);
            }
            Action::Publish { path: action::Path::Local, topic, payload } => {
                self.server.publish(&topic, &payload, Qos::AtMostOnce);
            }
            Action::EndSession(session) => self.server.close(session.into()),
            // What a link does not take is lost: whoever needs it asks again, and a registration is
            // declared anew when the link comes up.
            Action::Publish { path: action::Path::Cloud(server), topic, payload } => {
                self.clouds.publish(server, &topic, payload.to_vec(), Delivery::AtMostOnce);
            }
            Action::SubscribeCloud { server, topic } => {
                self.clouds.subscribe(server, &topic, Delivery::AtLeastOnce);
            }
            Action::Register { server, topic, payload } => {
                self.clouds.publish(server, &topic, payload, Delivery::AtLeastOnce);
            }
        }
    }

    /// A display is drawn anew once the relay's contacts have come to rest, also where the screen stays the same.
    fn notice_spike(&mut self) {
        // Who switches without end does not put it off without end.
        if self.outlet.take_was_set() && !std::mem::replace(&mut self.garbled, true) {
            self.draw_at.as_mut().reset(Instant::now() + DRAWN_WITHIN);
        }
    }

    fn draw(&mut self) {
        let garbled = std::mem::take(&mut self.garbled);
        if let Some(screen) = self.screen.take() {
            self.display.show(&screen);
            self.led.show(&screen);
            notify::status(status(&screen));
        } else if garbled {
            self.display.show_again();
        }
    }

    /// Lines of the audit log go to the disk together, and not on the way of the command that they are about.
    fn plan_flush(&mut self) {
        let waits = self.store.waiting() > 0;
        if waits && !self.flushes {
            self.flush_at.as_mut().reset(Instant::now() + FLUSHED_WITHIN);
        }
        self.flushes = waits;
    }

    fn flush(&mut self) {
        self.flushes = false;
        self.store.flush();
    }

    /// SecT STEP 8.
    fn reach_out(&mut self) {
        if let Err(error) = self.clouds.start() {
            warn!(%error, "no cloud server: the plug works at home alone");
        }
    }

    fn leave_the_air(&mut self) {
        for server in self.clouds.stop() {
            self.thing.handle_cloud_down(server, CloudFailure::Lost);
        }
        self.server.stop_listening();
        self.announcement = None;
    }

    async fn stop(mut self) {
        self.draw();
        self.led.darken();
        self.announcement = None;
        tokio::join!(self.server.shut_down(LAST_WORDS), self.clouds.shut_down(LAST_WORDS));
        self.wifi.close();
        self.store.flush();
        for (name, count) in self.thing.counters().iter() {
            debug!(name, count, "messages");
        }
        info!("stopped");
    }
}

/// Nothing that a stranger sends is louder than DEBUG.
fn log_verdict(verdict: Verdict, total: u64) {
    match verdict {
        Verdict::Answered(_) | Verdict::Repeated | Verdict::Paired | Verdict::Registered => {
            tracing::trace!(verdict = verdict.name(), "message");
        }
        Verdict::Stale(_) | Verdict::Dropped(_) => debug!(verdict = verdict.name(), total, "message"),
    }
}

fn admission(admission: action::Admission) -> Admission {
    // Who holds an owner's keys may end the sessions that he forgot; who holds a passcode may not end
    // the session of the one who read it first.
    let when_full = if admission.login.is_some() { WhenFull::EndOldest } else { WhenFull::Refuse };
    Admission {
        psk_identity: admission.psk_identity,
        key: admission.psk,
        login: admission.login.map(|(user, password)| Login { user, password }),
        publish: admission.publish,
        subscribe: admission.subscribe,
        max_sessions: admission.max_sessions,
        when_full,
        new_sessions: admission.new_sessions,
    }
}

/// One line for `systemctl status`, without the passcode.
fn status(screen: &Screen) -> &'static str {
    match screen {
        Screen::Starting => "starting",
        Screen::AccessPoint { .. } => "waiting for its owner: the display shows the passcode",
        Screen::AccessPointOff => "unclaimed, access point off: press the button",
        Screen::Pairing { .. } => "pairing",
        Screen::Joining { .. } => "joining the home network",
        Screen::JoinFailed { .. } => "the home network cannot be joined",
        Screen::Online { .. } => "online",
        Screen::Wiping => "unpaired: forgetting its household",
        Screen::Maintenance { .. } => "maintenance: its owners can correct the home network",
        Screen::Fault(_) => "fault: see the display",
    }
}
