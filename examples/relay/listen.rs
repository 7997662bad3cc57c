//! The relay as a service: events are posted to it, and go to the endpoints of a file.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sinkworks::telemetry::{self, MetricsServer};

use crate::cli::Args;
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::http::{Limits, Server};
use crate::posted::Posts;
use crate::progress::Screen;
use crate::run::{HangUp, Plan, run};
use crate::{FAILED, UNUSABLE};

/// How long an answer that is being written may take when everything is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

pub(crate) fn main(args: &Args, address: &str, file: &Path) -> ExitCode {
    let screen = Arc::new(Screen::new());
    let (server, metrics) = match set_up(args, address, file) {
        Ok(set_up) => set_up,
        Err(why) => {
            screen.message(&format!("relay: {why}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    if let Some(metrics) = &metrics {
        screen.message(&format!("metrics: http://{}/metrics", metrics.local_addr()));
    }
    let endpoints = &server.service().endpoints;
    let plan = Plan {
        grace: args.grace,
        patient: true,
        plain_progress: None,
        hang_up: HangUp::Reopens(endpoints.letters.clone()),
    };
    let source = {
        let (server, screen) = (server.clone(), screen.clone());
        move |_: &_| {
            // Only now: who reads this may send a signal at once, and it is listened to.
            if let Ok(address) = server.local_addr() {
                screen.message(&format!("listening: http://{address}/events"));
            }
            server.run();
        }
    };
    let outcome = match run(&endpoints.broadcaster, &endpoints.branches, &screen, &plan, source) {
        Ok(outcome) => outcome,
        Err(error) => {
            screen.message(&format!("relay: cannot listen to signals: {error}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    server.wait_until_quiet(LAST_ANSWERS);
    let lost = endpoints.account(&screen, &outcome, args.grace);
    // To be stopped is how a service ends.
    if lost { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

type SetUp = (Arc<Server<Posts>>, Option<MetricsServer>);

fn set_up(args: &Args, address: &str, file: &Path) -> Result<SetUp, String> {
    let endpoints = Endpoints::build(Config::read(file)?, false)?;
    let metrics = args.metrics.as_deref().map(telemetry::serve).transpose();
    let metrics = metrics.map_err(|error| format!("--metrics cannot be served: {error}"))?;
    let listener = TcpListener::bind(address).map_err(|error| format!("--listen cannot be listened at: {error}"))?;
    let limits =
        Limits { connections: args.connections as usize, body: args.max_body as usize, time: args.request_time };
    Ok((Server::new(listener, limits, Posts { endpoints }), metrics))
}
