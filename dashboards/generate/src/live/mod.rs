//! A real Prometheus that watches the program `outage` and the relay's demonstration, and what is to be seen there.

mod api;
mod coverage;
mod picture;
mod promtool;
mod relay;
mod run;
mod story;

use std::fs;
use std::path::Path;

use crate::boards;
use crate::table::Table;
use relay::Relay;
use run::Run;

/// The whole check. What it says at the end.
///
/// # Errors
///
/// With everything that is wrong, a line each.
pub fn check(table: &Table) -> Result<String, String> {
    promtool::check_rules()?;
    let address = run::free_address()?;
    let mut run = Run::start(Some(&address))?;
    // Only now: Prometheus takes some seconds to find its targets, and the demonstration is short.
    let relay = Relay::start(&address)?;
    run.watch()?;
    promtool::check_metrics(&run.exposition()?)?;
    let mut findings = story::check(&run.prometheus, table, &run.life)?;
    findings.extend(story::check(&run.prometheus, table, &relay.end(run.life.times.began)?)?);
    let panels = coverage::panels(&run, table)?;
    // Two alerts are about a process that is gone.
    run.end_process()?;
    let alerts = coverage::alerts(&run, table)?;
    let empty = panels.findings.len() + alerts.findings.len();
    findings.extend(panels.findings);
    findings.extend(alerts.findings);
    let summary = format!("{} panels, {} alerts, {empty} empty", panels.count, alerts.count);
    if findings.is_empty() { Ok(summary) } else { Err(format!("{}\n{summary}", findings.join("\n"))) }
}

/// Draws dashboards as one such run fills them, each in the folder, under its uid without the prefix.
///
/// # Errors
///
/// If the run fails, or a file cannot be written.
pub fn draw(table: &Table, uids: &[String], folder: &Path) -> Result<String, String> {
    let boards: Vec<_> = boards::all().into_iter().filter(|board| uids.iter().any(|uid| uid == board.uid)).collect();
    if boards.len() < uids.len() {
        return Err(format!("no such dashboards: {uids:?}"));
    }
    let mut run = Run::start(None)?;
    run.watch()?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for board in &boards {
        let file = folder.join(format!("{}.svg", board.uid.trim_start_matches("sinkworks-")));
        let text = picture::draw(&run, &board.json(table)?)?;
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(format!("{} pictures drawn", boards.len()))
}
