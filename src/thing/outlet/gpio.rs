//! An outlet that is a GPIO line behind a relay board.

use std::io;

use crate::proto::message::OutletState;
use crate::proto::port::{Outlet, OutletFault};
use crate::thing::gpio::{Active, OutputLine, Place};
use crate::thing::held::{self, Held};

/// A line that holds the relay.
#[derive(Debug)]
pub struct GpioOutlet {
    line: OutputLine,
}

impl GpioOutlet {
    /// Opens the line, or takes it over from an earlier start, and reads what the load has; it has the same
    /// afterwards. From then on the service manager holds it as well, if there is one.
    ///
    /// # Errors
    ///
    /// When the line does not exist, or another program holds it.
    pub fn open(place: &Place, held: Held) -> io::Result<(Self, OutletState)> {
        let name = name(place);
        // One that cannot be read is no better than one that cannot be taken: the next try has none to take.
        let taken = held.take(&name).map(|line| {
            let line = OutputLine::handed_over(place, line)?;
            line.is_on().map(|_| line)
        });
        let line = match taken {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                tracing::warn!(%error, "the outlet's line was held in vain");
                held::give_up(&name);
                open_and_hold(place, &name)?
            }
            None => open_and_hold(place, &name)?,
        };
        let state = OutletState::from_on(line.is_on()?);
        Ok((Self { line }, state))
    }

    /// What was set is read back: a line that another program took, or that is shorted, did not switch.
    fn set_and_check(&mut self, on: bool) -> io::Result<()> {
        self.line.set(on)?;
        if self.line.is_on()? == on { Ok(()) } else { Err(io::Error::other("the line did not follow")) }
    }
}

fn open_and_hold(place: &Place, name: &str) -> io::Result<OutputLine> {
    let line = OutputLine::open(place)?;
    if let Some(copy) = line.to_hand_over() {
        held::hold(name, copy);
    }
    Ok(line)
}

/// By what the service manager knows the line: another place or another polarity is another line.
fn name(place: &Place) -> String {
    let active = match place.active {
        Active::High => "high",
        Active::Low => "low",
    };
    held::name(&format!("outlet-{}-{active}-{}", place.pin, place.chip.display()))
}

impl Outlet for GpioOutlet {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.set_and_check(state.is_on()).map_err(|error| {
            tracing::warn!(%error, "the outlet's line was not set");
            OutletFault
        })
    }
}
