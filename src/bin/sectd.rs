//! See [`sect`].

fn main() {}
