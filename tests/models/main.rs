//! Models of what must hold whatever happens, explored to the end; and the real machines on the same ways.

mod command;
mod crashes;
#[path = "../support/world/dice.rs"]
#[allow(dead_code, unreachable_pub, reason = "the simulation throws them in more ways")]
mod dice;
mod real;
mod update;
