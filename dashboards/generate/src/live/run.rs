//! One run: the program `outage`, and a Prometheus that scrapes it and perhaps the relay, from beginning to end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::api::Api;
use super::relay;
use crate::files;

const SCRAPE_INTERVAL: Duration = Duration::from_millis(500);
/// What Grafana makes of that.
pub(super) const RATE_INTERVAL: &str = "2s";
/// For a program to say the next thing.
const PATIENCE: Duration = Duration::from_secs(45);

pub(super) struct Run {
    pub(super) prometheus: Api,
    program: Api,
    /// Its standard input keeps it going.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    pub(super) life: Life,
    // Ended in this order.
    processes: Vec<Process>,
    folder: Folder,
}

/// What a program went through.
pub(super) struct Life {
    pub(super) job: &'static str,
    /// Whether it retries more often than it is scraped.
    pub(super) retries_each_scrape: bool,
    pub(super) times: Times,
    /// What it has said at the end about its components.
    pub(super) accounts: Vec<String>,
}

/// In seconds since 1970, as Prometheus has them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) began: f64,
    pub(super) down: f64,
    pub(super) up: f64,
    pub(super) settled: f64,
    /// The latest that is known.
    pub(super) end: f64,
}

/// Killed when it is dropped.
pub(super) struct Process(pub(super) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removed when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Run {
    /// Both programs are there, and the first scrape has been made.
    pub(super) fn start(relay: Option<&str>) -> Result<Self, String> {
        let folder = Folder(std::env::temp_dir().join(format!("sinkworks-dashboards-{}", std::process::id())));
        fs::create_dir_all(&folder.0).map_err(|error| error.to_string())?;
        let (mut process, stdin, lines) = start_program()?;
        let first = lines.recv_timeout(PATIENCE).map_err(|error| format!("outage: {error}"))?;
        let program = first.strip_prefix("metrics=").ok_or_else(|| format!("outage said {first:?}"))?.to_owned();
        let address = free_address()?;
        let prometheus = match start_prometheus(&folder.0, &address, &program, relay) {
            Ok(prometheus) => prometheus,
            Err(error) => {
                let _ = process.0.kill();
                return Err(error);
            }
        };
        let run = Self {
            prometheus: Api::new(&address),
            program: Api::new(&program),
            stdin: Some(stdin),
            lines,
            life: Life {
                job: "outage",
                retries_each_scrape: true,
                times: Times { began: now(), ..Times::default() },
                accounts: Vec::new(),
            },
            processes: vec![process, prometheus],
            folder,
        };
        let began = Instant::now();
        while !run.prometheus.at("up == 1", now()).is_ok_and(|up| !up.is_empty()) {
            if began.elapsed() > Duration::from_secs(20) {
                let said = fs::read_to_string(run.folder.0.join("prometheus.log")).unwrap_or_default();
                return Err(format!("Prometheus has not scraped anything in 20 s. It said:\n{said}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(run)
    }

    /// Lets the program live through its outage, until nothing moves any more and Prometheus knows it.
    pub(super) fn watch(&mut self) -> Result<(), String> {
        self.life.times.began = now();
        let stdin = self.stdin.as_mut().ok_or("the program has ended")?;
        stdin.write_all(b"go\n").map_err(|error| format!("outage: {error}"))?;
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|error| format!("outage: {error}"))?;
            let Some(phase) = line.strip_prefix("phase=") else {
                self.life.accounts.push(line);
                continue;
            };
            let (name, at) = phase.split_once(" at=").unwrap_or_default();
            let at = at.parse().map_err(|_| format!("outage said {line:?}"))?;
            match name {
                "down" => self.life.times.down = at,
                "up" => self.life.times.up = at,
                _ => break self.life.times.settled = at,
            }
        }
        // Two scrapes that find everything as it was said to be.
        thread::sleep(3 * SCRAPE_INTERVAL);
        self.life.times.end = now();
        Ok(())
    }

    pub(super) fn exposition(&self) -> Result<String, String> {
        self.program.text("/metrics")
    }

    /// Ends the program, and lets Prometheus find out.
    pub(super) fn end_process(&mut self) -> Result<(), String> {
        drop(self.stdin.take());
        let status = self.processes[0].0.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("outage: {status}"));
        }
        // Scrapes that fail, and an evaluation of the rules.
        thread::sleep(4 * SCRAPE_INTERVAL);
        self.life.times.end = now();
        Ok(())
    }
}

fn start_program() -> Result<(Process, ChildStdin, Receiver<String>), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name("outage");
    let child = Command::new(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| {
        format!("{}: {error}; build it first: cargo build -p dashboards-gen --bins", path.display())
    })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let process = Process(child);
    let (stdin, stdout) = stdin.zip(stdout).ok_or("outage has no standard streams")?;
    let (said, lines) = mpsc::channel();
    // Ends with the program's output.
    thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
    Ok((process, stdin, lines))
}

/// Nobody has it now. Another process might take it meanwhile; then Prometheus says so and the check fails.
pub(super) fn free_address() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.to_string()).map_err(|error| error.to_string())
}

fn start_prometheus(folder: &Path, address: &str, program: &str, relay: Option<&str>) -> Result<Process, String> {
    let rules = files::home().join("prometheus");
    let job = |name: &str, interval: Duration, target: &str| {
        let millis = interval.as_millis();
        format!(
            "  - job_name: {name}\n    scrape_interval: {millis}ms\n    scrape_timeout: {millis}ms\n    static_configs:\n      - targets: ['{target}']\n"
        )
    };
    let config = format!(
        "global:\n  evaluation_interval: 1s\n\
         rule_files:\n  - '{rules}/recording.yml'\n  - '{rules}/alerts.yml'\n\
         scrape_configs:\n{}{}",
        job("outage", SCRAPE_INTERVAL, program),
        relay.map_or(String::new(), |relay| job(relay::JOB, relay::SCRAPE_INTERVAL, relay)),
        rules = rules.display(),
    );
    let failed = |error: std::io::Error| format!("prometheus: {error}");
    let file = folder.join("prometheus.yml");
    fs::write(&file, config).map_err(failed)?;
    let log = File::create(folder.join("prometheus.log")).map_err(failed)?;
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    Ok(Process(child))
}
