//! What a process has used, as the kernel tells it (proc(5)).

use std::fs;
use std::io;

/// Memory in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// The most that was ever resident.
    pub peak: u64,
    /// Resident and its own.
    pub anonymous: u64,
    /// Resident and a file's: code, above all.
    pub file: u64,
    /// Resident, what is shared counted in shares.
    pub proportional: u64,
}

/// The memory of a process.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        peak: number(&status, "VmHWM:")?,
        anonymous: number(&status, "RssAnon:")?,
        file: number(&status, "RssFile:")?,
        proportional: number(&rollup, "Pss:")?,
    })
}

/// The threads of a process, and how often they have gone to sleep and been woken.
pub fn sleeps(pid: u32) -> io::Result<Vec<(String, u64)>> {
    let mut sleeps = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let name = status.lines().next().and_then(|line| line.strip_prefix("Name:")).unwrap_or_default();
        sleeps.push((name.trim().to_owned(), number(&status, "voluntary_ctxt_switches:")?));
    }
    Ok(sleeps)
}

/// Bytes that a process has caused to be written to a disk.
pub fn disk_bytes(pid: u32) -> io::Result<u64> {
    number(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:")
}

fn number(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("the kernel does not tell {name}")))
}
