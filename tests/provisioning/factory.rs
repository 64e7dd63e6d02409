//! A factory's folder, in which the real `sect-cloud` works.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use serde_json::Value;
use tempfile::TempDir;

/// A factory's folder, with the manufacturer's authority and a server's.
pub(crate) struct Factory(pub(crate) TempDir);

impl Factory {
    pub(crate) fn new() -> Self {
        let factory = Self(tempfile::tempdir().expect("a folder"));
        factory.must(&["authority", "--out", "manufacturer", "--name", "Example Plugs"]);
        factory.must(&["server-authority", "--out", "servers", "--name", "Example Cloud"]);
        factory
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn provision(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sect-cloud"))
            .current_dir(self.0.path())
            .arg("provision")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sect-cloud starts");
        // It may have gone already, having found a mistake.
        let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
        let output = child.wait_with_output().expect("sect-cloud ends");
        for text in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(text).contains("PRIVATE"), "{arguments:?} printed a key");
        }
        output
    }

    /// The lines of what must succeed.
    pub(crate) fn must(&self, arguments: &[&str]) -> Vec<String> {
        self.must_with(arguments, "")
    }

    pub(crate) fn must_with(&self, arguments: &[&str], stdin: &str) -> Vec<String> {
        let output = self.provision(arguments, stdin);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        text(&output.stdout).lines().map(str::to_owned).collect()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let lines = self.must(&[arguments, &["--json"]].concat());
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The complaint of what must fail.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.provision(arguments, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr).to_owned()
    }

    pub(crate) fn certificate(&self, name: &str) -> X509 {
        X509::from_pem(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn key(&self, name: &str) -> PKey<Private> {
        PKey::private_key_from_pem(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("there").permissions().mode() & 0o777
    }

    /// Every file below, with its content.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn below(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    below(&path, found)
                } else {
                    found.push((path.clone(), fs::read(path).expect("read")))
                }
            }
        }
        let mut found = Vec::new();
        below(self.0.path(), &mut found);
        found.sort();
        found
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}
