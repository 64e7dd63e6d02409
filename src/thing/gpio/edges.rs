//! A line that is watched: what is pressed, and when it is let go.

use std::io;
use std::time::Duration;

use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, EventClock};
use rppal::gpio::{Event, Gpio, Trigger};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::{Active, GpioDriver, Place, named};

/// Changes shorter than this are a contact that bounces.
const DEBOUNCE: Duration = Duration::from_millis(30);
/// Changes that may wait; who holds a contact that never rests loses some of them.
const WAITING: usize = 16;

/// A line whose changes are waited for.
#[derive(Debug)]
pub struct Edges {
    back_end: BackEnd,
}

#[derive(Debug)]
enum BackEnd {
    /// The pin must live as long as its events are wanted.
    Rppal {
        events: mpsc::Receiver<bool>,
        _pin: rppal::gpio::InputPin,
    },
    Gpiocdev(AsyncFd<gpiocdev::Request>),
}

impl Edges {
    /// Watches a line, inside a tokio runtime. It is pulled to the voltage that does not mean "pressed".
    ///
    /// # Errors
    ///
    /// When the line does not exist, or another program holds it.
    pub fn watch(place: &Place) -> io::Result<Self> {
        let back_end = match place.driver {
            GpioDriver::Rppal => watch_rppal(place)?,
            GpioDriver::Gpiocdev => watch_gpiocdev(place)?,
        };
        Ok(Self { back_end })
    }

    /// Waits for the next change: `true` when it was pressed. Dropping it half-way loses none.
    ///
    /// # Errors
    ///
    /// When the line cannot be read any more.
    pub async fn next(&mut self) -> io::Result<bool> {
        match &mut self.back_end {
            BackEnd::Rppal { events, .. } => events.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into()),
            BackEnd::Gpiocdev(request) => loop {
                let mut ready = request.readable().await?;
                let request = ready.get_inner();
                if request.has_edge_event().map_err(io::Error::other)? {
                    let edge = request.read_edge_event().map_err(io::Error::other)?;
                    return Ok(edge.kind == EdgeKind::Rising);
                }
                ready.clear_ready();
            },
        }
    }
}

fn watch_rppal(place: &Place) -> io::Result<BackEnd> {
    let pin = Gpio::new().and_then(|gpio| gpio.get(place.pin)).map_err(|error| named(place, &error))?;
    let (mut pin, pressed) = match place.active {
        Active::High => (pin.into_input_pulldown(), Trigger::RisingEdge),
        Active::Low => (pin.into_input_pullup(), Trigger::FallingEdge),
    };
    let (sender, events) = mpsc::channel(WAITING);
    pin.set_async_interrupt(Trigger::Both, Some(DEBOUNCE), move |Event { trigger, .. }| {
        // With no room left the daemon has better to do than to count a contact that never rests.
        let _ = sender.try_send(trigger == pressed);
    })
    .map_err(|error| named(place, &error))?;
    Ok(BackEnd::Rppal { events, _pin: pin })
}

fn watch_gpiocdev(place: &Place) -> io::Result<BackEnd> {
    let mut builder = gpiocdev::Request::builder();
    builder.on_chip(&place.chip).with_consumer("sectd").with_line(place.pin.into()).as_input();
    match place.active {
        Active::High => builder.as_active_high().with_bias(Bias::PullDown),
        Active::Low => builder.as_active_low().with_bias(Bias::PullUp),
    };
    let request = builder
        .with_edge_detection(EdgeDetection::BothEdges)
        .with_event_clock(EventClock::Monotonic)
        .with_debounce_period(DEBOUNCE)
        .request()
        .map_err(|error| named(place, &error))?;
    #[expect(
        deprecated,
        reason = "its unsafe successor guards against types whose descriptor changes; a request's never does"
    )]
    let request = AsyncFd::with_interest(request, Interest::READABLE)?;
    Ok(BackEnd::Gpiocdev(request))
}
