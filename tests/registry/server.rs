//! Debian's `docker-registry` as a process, which notifies two endpoints.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::get;
use super::eventually;
use super::relay::Dir;

const PROGRAM: &str = "docker-registry";

/// A registry that runs, and ends with the test.
pub(crate) struct Registry {
    child: Child,
    log: PathBuf,
    /// Its API, as in `http://127.0.0.1:5000`.
    pub(crate) url: String,
    debug: String,
}

/// What the registry says of its notifications to one endpoint.
#[derive(Debug)]
pub(crate) struct Notified {
    pub(crate) pending: u64,
    pub(crate) events: u64,
    pub(crate) successes: u64,
    /// Requests that were answered with something else than success.
    pub(crate) failures: u64,
    /// Requests without an answer.
    pub(crate) errors: u64,
    /// How many answers there were of each status.
    pub(crate) statuses: Value,
}

impl Registry {
    /// Starts one with two endpoints: `relay`, with this URL, and `direct`, with that one.
    pub(crate) fn start(dir: &Dir, relay: &str, direct: &str) -> Self {
        // The API's port is in the log, that of the metrics is not: it has to be a free one.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.file("registry.yml", &config(&dir.path("storage"), &free.to_string(), relay, direct));
        let log = dir.0.join("registry.log");
        let mut command = Command::new(PROGRAM);
        command.args(["serve", &config]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        // They would count for more than the file.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REGISTRY_")) {
            command.env_remove(name);
        }
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{PROGRAM}: {error}: ci/registry.sh installs it"));
        let mut registry = Self { child, log, url: String::new(), debug: format!("http://{free}/debug/vars") };
        let listens = eventually(Duration::from_secs(20), || {
            let log = registry.log();
            let address = log.split_once("listening on ").and_then(|(_, rest)| rest.split_once('"'));
            registry.url = address.map(|(address, _)| format!("http://{address}")).unwrap_or_default();
            address.is_some() || registry.child.try_wait().unwrap().is_some()
        });
        assert!(listens && !registry.url.is_empty(), "the registry has not started:\n{}", registry.log());
        registry
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn notified(&self, endpoint: &str) -> Notified {
        let vars: Value = serde_json::from_slice(&get(&self.debug)).unwrap();
        let endpoints = vars["registry"]["notifications"]["endpoints"].as_array().unwrap();
        let metrics = &endpoints.iter().find(|known| known["name"] == endpoint).unwrap()["Metrics"];
        let count = |name: &str| metrics[name].as_u64().unwrap();
        Notified {
            pending: count("Pending"),
            events: count("Events"),
            successes: count("Successes"),
            failures: count("Failures"),
            errors: count("Errors"),
            statuses: metrics["Statuses"].clone(),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the documentation shows, with the address of this relay, and an endpoint more.
fn config(storage: &str, debug: &str, relay: &str, direct: &str) -> String {
    let (documented, address) = (include_str!("../../examples/relay/registry.yml"), "http://127.0.0.1:8070/events");
    assert!(documented.contains(address));
    let notifications = documented.replace(address, relay);
    format!(
        "version: 0.1
storage:
  filesystem:
    rootdirectory: {storage}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:0
  debug:
    addr: {debug}
{notifications}
    - name: direct
      url: {direct}
      timeout: 5s
      threshold: 3
      backoff: 1s
"
    )
}
