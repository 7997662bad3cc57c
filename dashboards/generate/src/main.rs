//! Writes the dashboards, or checks them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dashboards_gen::table::Table;
use dashboards_gen::{files, live};

/// Makes the dashboards, rules and provisioning files of sinkworks from its table of names.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Write nothing; fail if a file differs from what would be written
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Watch a real pipeline through an outage with a real Prometheus, and check that every panel and alert sees it
    Live,
    /// Draw dashboards as such a run fills them
    Picture {
        /// Their uids
        #[arg(default_value = "sinkworks-overview")]
        dashboards: Vec<String>,
        /// Where to; by default, where the pictures are that the project ships
        #[arg(long)]
        folder: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("dashboards: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let table = Table::default();
    match &args.task {
        Some(Task::Live) => live::check(&table),
        Some(Task::Picture { dashboards, folder }) => {
            live::draw(&table, dashboards, &folder.clone().unwrap_or_else(|| files::home().join("pictures")))
        }
        None if args.check => {
            let drift = files::drift(&files::home())?;
            if drift.is_empty() {
                return Ok("no drift".to_owned());
            }
            Err(format!("{}\nrun `cargo run -p dashboards-gen` and commit", drift.join("\n")))
        }
        None => Ok(format!("{} files written", files::write()?)),
    }
}
