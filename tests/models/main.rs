//! Models of what must hold whatever happens, explored to the end; and the real machines on the same ways.

mod command;
mod crashes;
mod real;
mod update;
