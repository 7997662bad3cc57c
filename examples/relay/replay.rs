//! `relay replay FILE`: the events of dead letters go once more to the endpoints whose queues dropped them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sinkworks::{Broadcaster, WriteError};

use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::input::{Bad, Lines};
use crate::letters::Letter;
use crate::progress::Screen;
use crate::relayed::Shared;
use crate::run::{HangUp, Plan, run};
use crate::tool::is_same_file;
use crate::{FAILED, INTERRUPTED, UNUSABLE};

#[derive(Default)]
struct Counts {
    letters: AtomicU64,
    replayed: AtomicU64,
}

pub(crate) fn main(file: &Path, config: &Path, grace: Duration) -> ExitCode {
    let screen = Arc::new(Screen::new());
    let (input, endpoints) = match set_up(file, config) {
        Ok(set_up) => set_up,
        Err(why) => {
            screen.message(&format!("relay: {why}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    let (endpoints, counts) = (Arc::new(endpoints), Arc::new(Counts::default()));
    let source = {
        let (endpoints, counts, screen) = (endpoints.clone(), counts.clone(), screen.clone());
        move |broadcaster: &_| feed(input, &endpoints, broadcaster, &counts, &screen)
    };
    let plan = Plan { grace, patient: true, plain_progress: None, hang_up: HangUp::Ends };
    let outcome = match run(&endpoints.broadcaster, &endpoints.branches, &screen, &plan, source) {
        Ok(outcome) => outcome,
        Err(error) => {
            screen.message(&format!("relay: cannot listen to signals: {error}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    let lost = endpoints.account(&screen, &outcome, grace);
    let [letters, replayed] = [&counts.letters, &counts.replayed].map(|count| count.load(Ordering::Relaxed));
    screen.result(&format!("letters read={letters} replayed={replayed} unusable={}", letters - replayed));
    if outcome.interrupted {
        return ExitCode::from(INTERRUPTED);
    }
    if lost || letters > replayed || outcome.source != Some(true) { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

fn set_up(file: &Path, config: &Path) -> Result<(Lines, Endpoints), String> {
    let config = Config::read(config)?;
    if config.dead_letters.as_ref().is_some_and(|letters| is_same_file(letters, file)) {
        let file = file.display();
        return Err(format!("{file}: new dead letters are written there: stop the relay, rename it, and replay that"));
    }
    let input = Lines::open(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Ok((input, Endpoints::build(config, true)?))
}

/// Reads the letters and writes their events, waiting for room. Whether it has come to the end of the file.
fn feed(
    mut input: Lines,
    endpoints: &Endpoints,
    broadcaster: &Broadcaster<Shared>,
    counts: &Counts,
    screen: &Screen,
) -> bool {
    let queues = endpoints.by_name();
    while let Some(line) = input.next_event() {
        let replayed = match line {
            Ok(line) => Letter::read(&line).and_then(|letter| {
                let name = letter.queue.clone();
                let queue = queues.get(&name).ok_or_else(|| format!("there is no endpoint {name:?}"))?;
                let event = letter.into_event(&endpoints.specs)?;
                queue.send(Shared::new(event)).map_err(|error| match error.error {
                    WriteError::Closed => format!("{name} takes no events any more"),
                    error => format!("{name} does not take it: {error}"),
                })
            }),
            Err(Bad::Malformed(why)) => Err(why),
            Err(Bad::Unreadable(error)) => {
                screen.message(&format!("relay: the letters cannot be read any further: {error}"));
                return false;
            }
        };
        // Closed, by Ctrl-C: the rest stays where it is.
        if replayed.is_err() && broadcaster.is_empty() {
            return false;
        }
        counts.letters.fetch_add(1, Ordering::Relaxed);
        match replayed {
            Ok(()) => {
                counts.replayed.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => screen.message(&format!("relay: line {} is not replayed: {why}", input.number())),
        }
    }
    true
}
