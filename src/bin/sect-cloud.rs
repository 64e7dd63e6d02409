//! The cloud server; see [`sect::cloud`].

fn main() -> std::process::ExitCode {
    sect::cloud::main()
}
