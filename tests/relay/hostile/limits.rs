//! What Linux lets this process have, and what the relay has had.

use std::fs;
use std::process::Command;

/// What the relay has had at most, as far as was looked.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) threads: u64,
    /// The most memory that it has ever had, in KiB.
    pub(super) memory: u64,
}

impl Usage {
    /// What a process has had until now.
    pub(super) fn of(process: u32) -> Self {
        let mut usage = Self::default();
        usage.look(process);
        usage
    }

    pub(super) fn look(&mut self, process: u32) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        self.threads = self.threads.max(number("Threads:"));
        self.memory = self.memory.max(number("VmHWM:"));
    }
}

/// Sees to it that this process, and so the relay that it starts, may have so many files open.
pub(super) fn allow_files(files: u64) {
    let allowed = || -> u64 {
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX)
    };
    if allowed() < files {
        let process = std::process::id().to_string();
        // Where it cannot be done, the next line says so.
        let _ = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={files}:")]).status();
    }
    assert!(allowed() >= files, "{} files may be open, and {files} are needed: ulimit -n {files}", allowed());
}
