//! How hostile a world is: chances in a thousand, drawn once for each seed.

use super::dice::Dice;

/// Microseconds of virtual time.
pub type Time = u64;

/// A second of virtual time.
pub const SECOND: Time = 1_000_000;

/// What may happen to whom, in a thousand times each.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// A message of the steady state is lost.
    pub lost: u64,
    /// It arrives twice.
    pub doubled: u64,
    /// It arrives up to 45 s later.
    pub withheld: u64,
    /// How long it usually takes at most.
    pub delay: Time,
    /// The cloud server says it once more, at any later time.
    pub replayed: u64,
    /// A session breaks while a message is on its way.
    pub cut: u64,
    /// The thing loses its power at a write of its store: before it, or after it.
    pub power_at_write: u64,
    /// The same, but some seconds after the write.
    pub power_after_write: u64,
    /// The same at the relay's click.
    pub power_at_outlet: u64,
    /// The same while an answer waits to leave.
    pub power_at_answer: u64,
    /// The store refuses a write.
    pub write_fails: u64,
    /// The outlet does not confirm.
    pub outlet_fails: u64,
    /// A controller dies at a write of its keyring: before it, or after it.
    pub death_at_write: u64,
    /// A controller dies when a message comes.
    pub death: u64,
}

impl Weather {
    /// Nothing goes wrong, and nothing takes long.
    pub fn calm() -> Self {
        Self { delay: 40_000, ..Self::default() }
    }

    /// One world in six is calm; in the others each evil is there or not, and more or less of it.
    pub fn draw(dice: &mut Dice) -> Self {
        if dice.below(6) == 0 {
            return Self::calm();
        }
        let mut up_to = |most: u64| if dice.coin() { dice.between(1, most) } else { 0 };
        Self {
            lost: up_to(400),
            doubled: up_to(300),
            withheld: up_to(100),
            delay: 10_000 + up_to(2_500_000),
            replayed: up_to(300),
            cut: up_to(40),
            power_at_write: up_to(350),
            power_after_write: up_to(300),
            power_at_outlet: up_to(150),
            power_at_answer: up_to(30),
            write_fails: up_to(200),
            outlet_fails: up_to(100),
            death_at_write: up_to(300),
            death: up_to(15),
        }
    }
}
