//! The server, wired on one page.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::config::Config;
use super::gate::read;
use super::listener::{Door, Side, bind};
use super::metrics::{self, Gauges, Metrics};
use super::places::{PlaceLimits, Places};
use super::registrar::{Registrar, Request};
use super::router::Router;
use super::session::Shared;
use super::store::Store;
use super::tls::{Tls, TlsError};
use crate::proto::cloud::Registry;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When it cannot start; once it serves, it does not give up.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let tls = load_tls(config)?;
    let (store, records) = Store::open(&config.state_dir)?;
    let registry = Arc::new(RwLock::new(Registry::from_records(records)));
    raise_descriptor_limit(config.limits.connections);

    let metrics = Arc::new(Metrics::default());
    let router = Arc::new(Router::new());
    let (registrar, requests) = mpsc::channel(REGISTRATIONS_WAITING);
    let thread = {
        let registrar =
            Registrar { registry: registry.clone(), router: router.clone(), metrics: metrics.clone(), store };
        thread::Builder::new().name("registrar".to_owned()).spawn(move || registrar.run(requests))?
    };
    let shared = Arc::new(Shared {
        registry: registry.clone(),
        router: router.clone(),
        metrics: metrics.clone(),
        registrar: registrar.clone(),
        sessions_per_account: config.limits.sessions_per_account,
        connect_within: Duration::from_secs(config.limits.connect_within_s.into()),
        started: Instant::now(),
        client_ids: AtomicU64::new(0),
    });
    let places = Places::new(PlaceLimits {
        total: config.limits.connections,
        each_address: config.limits.connections_per_address,
        each_address_a_second: config.limits.connections_per_address_each_second,
    });
    let turns = Arc::new(Semaphore::new(handshake_turns(thread::available_parallelism().map_or(1, usize::from))));
    let tls = Arc::new(RwLock::new(tls));
    let door = |side| {
        Arc::new(Door {
            side,
            shared: shared.clone(),
            places: places.clone(),
            tls: tls.clone(),
            arriving: Arc::new(Semaphore::new(config.limits.handshakes)),
            turns: turns.clone(),
            handshake_within: Duration::from_secs(config.limits.handshake_within_s.into()),
        })
    };
    let things = door(Side::Things);
    let controllers = door(Side::Controllers);
    drop(shared);

    let mut tasks = JoinSet::new();
    for (door, addresses) in [(&things, &config.things.listen), (&controllers, &config.controllers.listen)] {
        for address in addresses {
            let listener = bind(*address).with_context(|| format!("could not listen on {address}"))?;
            tracing::info!(side = ?door.side, %address, "listening");
            tasks.spawn(door.clone().run(listener));
        }
    }
    if let Some(address) = config.metrics_address() {
        let (metrics, registry, places) = (metrics.clone(), registry.clone(), places.clone());
        let render = move || {
            let (things, accounts) = {
                let registry = read(&registry);
                (registry.things(), registry.accounts())
            };
            metrics.render(Gauges { connections: places.taken(), things, accounts })
        };
        let listener = metrics::listen(address, render).await;
        tasks.spawn(listener.with_context(|| format!("could not listen on {address}"))?);
    }
    tasks.spawn(sweep(registrar));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    notify(NotifyState::Ready);
    tracing::info!(things = read(&registry).things(), accounts = read(&registry).accounts(), "ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => match load_tls(config) {
                Ok(read) => {
                    *tls.write().unwrap_or_else(PoisonError::into_inner) = read;
                    tracing::info!("certificates and key were read again");
                }
                Err(error) => tracing::error!(%error, "certificates and key stay as they were"),
            },
        }
    }
    notify(NotifyState::Stopping);
    tracing::info!("stopping");
    // Nobody new; those who are here are told; what was taken for registration is stored.
    tasks.shutdown().await;
    router.end_all();
    let until = Instant::now() + STOP_WITHIN;
    while places.taken() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((things, controllers));
    let stored = tokio::task::spawn_blocking(move || thread.join());
    if tokio::time::timeout(STOP_WITHIN, stored).await.is_err() {
        tracing::warn!("connections are still open; nothing is lost by that");
    }
    Ok(())
}

fn load_tls(config: &Config) -> Result<Tls, TlsError> {
    let tls = Tls::load(config)?;
    if tls.out_of_date {
        tracing::warn!("the server's certificate does not hold now: controllers refuse it; renew it, then send SIGHUP");
    }
    Ok(tls)
}

async fn sweep(registrar: mpsc::Sender<Request>) {
    let mut ticks = interval(SWEEP_EACH);
    loop {
        ticks.tick().await;
        if registrar.send(Request::Sweep).await.is_err() {
            return;
        }
    }
}

/// Handshakes that compute at the same time: one processor is left to those who are connected, where
/// there is more than one.
fn handshake_turns(processors: usize) -> usize {
    processors.saturating_sub(1).max(1)
}

/// Each connection is a file descriptor; the soft limit is often 1024.
fn raise_descriptor_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = connections as u64 + DESCRIPTORS_BESIDE;
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_err() || raised < wanted {
        tracing::warn!(
            raised,
            wanted,
            "fewer files than connections may be open; set LimitNOFILE or limits.connections"
        );
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

/// Registrations that wait for the disk; the things whose list finds no room ask again.
const REGISTRATIONS_WAITING: usize = 1024;
const SWEEP_EACH: Duration = Duration::from_secs(600);
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Sockets that listen, the store, the log.
const DESCRIPTORS_BESIDE: u64 = 64;
