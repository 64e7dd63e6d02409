//! The scripted pairing simulation.
