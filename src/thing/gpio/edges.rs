//! A line that is watched: what is pressed, and when it is let go.

use std::io;
use std::time::Duration;

use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, EventClock, Value};
use rppal::gpio::{Event, Gpio, Trigger};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::{Active, GpioDriver, Place, named, refused};

/// Changes shorter than this are a contact that bounces.
pub const DEBOUNCE: Duration = Duration::from_millis(30);
/// Changes that may wait; who holds a contact that never rests loses some of them.
const WAITING: usize = 64;

/// A line that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Whether it was pressed, and not let go.
    pub pressed: bool,
    /// When, since some moment that stays the same.
    pub at: Duration,
}

/// A line whose changes are waited for.
#[derive(Debug)]
pub struct Edges {
    back_end: BackEnd,
}

#[derive(Debug)]
enum BackEnd {
    Rppal { events: mpsc::Receiver<Edge>, pin: rppal::gpio::InputPin, active: Active },
    Gpiocdev(AsyncFd<gpiocdev::Request>),
}

impl Edges {
    /// Watches a line, inside a tokio runtime. It is pulled to the voltage that does not mean "pressed".
    ///
    /// # Errors
    ///
    /// When the line does not exist, or another program holds it.
    pub fn watch(place: &Place) -> io::Result<Self> {
        Self::watch_for(place, Some(DEBOUNCE))
    }

    /// The same, where each change counts, however short.
    ///
    /// # Errors
    ///
    /// As [`Self::watch`].
    pub fn watch_bouncing(place: &Place) -> io::Result<Self> {
        Self::watch_for(place, None)
    }

    fn watch_for(place: &Place, debounce: Option<Duration>) -> io::Result<Self> {
        let back_end = match place.driver {
            GpioDriver::Rppal => watch_rppal(place, debounce)?,
            GpioDriver::Gpiocdev => watch_gpiocdev(place, debounce)?,
        };
        Ok(Self { back_end })
    }

    /// Whether it is pressed now.
    ///
    /// # Errors
    ///
    /// When the line cannot be read.
    pub fn is_pressed(&self) -> io::Result<bool> {
        match &self.back_end {
            BackEnd::Rppal { pin, active, .. } => Ok(pin.is_high() == (*active == Active::High)),
            BackEnd::Gpiocdev(request) => {
                let value = request.get_ref().lone_value().map_err(io::Error::other)?;
                Ok(value == Value::Active)
            }
        }
    }

    /// Waits for the next change. Dropping it half-way loses none.
    ///
    /// # Errors
    ///
    /// When the line cannot be read any more.
    pub async fn next(&mut self) -> io::Result<Edge> {
        match &mut self.back_end {
            BackEnd::Rppal { events, .. } => events.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into()),
            BackEnd::Gpiocdev(request) => loop {
                let mut ready = request.readable().await?;
                let request = ready.get_inner();
                if request.has_edge_event().map_err(io::Error::other)? {
                    let edge = request.read_edge_event().map_err(io::Error::other)?;
                    let at = Duration::from_nanos(edge.timestamp_ns);
                    return Ok(Edge { pressed: edge.kind == EdgeKind::Rising, at });
                }
                ready.clear_ready();
            },
        }
    }
}

fn watch_rppal(place: &Place, debounce: Option<Duration>) -> io::Result<BackEnd> {
    let pin = Gpio::new().and_then(|gpio| gpio.get(place.pin)).map_err(|error| named(place, &error))?;
    let (mut pin, pressed) = match place.active {
        Active::High => (pin.into_input_pulldown(), Trigger::RisingEdge),
        Active::Low => (pin.into_input_pullup(), Trigger::FallingEdge),
    };
    let (sender, events) = mpsc::channel(WAITING);
    pin.set_async_interrupt(Trigger::Both, debounce, move |Event { trigger, timestamp, .. }| {
        // With no room left the daemon has better to do than to count a contact that never rests.
        let _ = sender.try_send(Edge { pressed: trigger == pressed, at: timestamp });
    })
    .map_err(|error| named(place, &error))?;
    Ok(BackEnd::Rppal { events, pin, active: place.active })
}

fn watch_gpiocdev(place: &Place, debounce: Option<Duration>) -> io::Result<BackEnd> {
    let mut builder = gpiocdev::Request::builder();
    builder.on_chip(&place.chip).with_consumer("sectd").with_line(place.pin.into()).as_input();
    match place.active {
        Active::High => builder.as_active_high().with_bias(Bias::PullDown),
        Active::Low => builder.as_active_low().with_bias(Bias::PullUp),
    };
    builder.with_edge_detection(EdgeDetection::BothEdges).with_event_clock(EventClock::Monotonic);
    if let Some(period) = debounce {
        builder.with_debounce_period(period);
    }
    let request = builder.request().map_err(|error| refused(place, &error))?;
    #[expect(
        deprecated,
        reason = "its unsafe successor guards against types whose descriptor changes; a request's never does"
    )]
    let request = AsyncFd::with_interest(request, Interest::READABLE)?;
    Ok(BackEnd::Gpiocdev(request))
}
