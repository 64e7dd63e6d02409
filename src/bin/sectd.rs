//! The daemon on the plug; see [`sect::thing`].

fn main() -> std::process::ExitCode {
    sect::thing::main()
}
