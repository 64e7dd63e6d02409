//! A button between a GPIO line and ground, or the supply.
//!
//! A press counts when it is let go, or once it was held for 10 s: whoever waits for the long one sees on
//! the display that it was enough.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::proto::action::Press;
use crate::thing::gpio::{Edges, Place};

/// How long a long press is (protocol section 7.6).
pub const LONG: Duration = Duration::from_secs(10);

/// A line with a contact.
#[derive(Debug)]
pub struct GpioButton {
    edges: Option<Edges>,
    /// Since when it is held, until that has counted.
    held: Option<Instant>,
}

impl GpioButton {
    /// Watches the line, inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the line does not exist, or another program holds it.
    pub fn open(place: &Place) -> io::Result<Self> {
        Ok(Self { edges: Some(Edges::watch(place)?), held: None })
    }

    /// Waits for the next press. Dropping it half-way loses none.
    pub async fn next(&mut self) -> Press {
        loop {
            let Some(edges) = &mut self.edges else { return pending().await };
            let edge = match self.held {
                None => edges.next().await,
                Some(since) => match timeout_at(since + LONG, edges.next()).await {
                    Ok(edge) => edge,
                    Err(_) => {
                        self.held = None;
                        return Press::Long;
                    }
                },
            };
            match edge.map(|edge| edge.pressed) {
                Ok(true) => self.held = Some(Instant::now()),
                Ok(false) => {
                    if self.held.take().is_some() {
                        return Press::Short;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the button is broken");
                    self.edges = None;
                }
            }
        }
    }
}
