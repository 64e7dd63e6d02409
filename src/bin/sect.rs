//! The owner's command line; see [`sect::controller`].

fn main() -> std::process::ExitCode {
    sect::controller::main()
}
