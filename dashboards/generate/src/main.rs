//! Writes the dashboards, or checks them.

use std::process::ExitCode;

use clap::Parser;
use dashboards_gen::files;

/// Makes the dashboards, rules and provisioning files of sinkworks from its table of names.
#[derive(Debug, Parser)]
struct Args {
    /// Write nothing; fail if a file differs from what would be written
    #[arg(long)]
    check: bool,
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
    if !args.check {
        return Ok(format!("{} files written", files::write()?));
    }
    let drift = files::drift(&files::home())?;
    if drift.is_empty() {
        return Ok("no drift".to_owned());
    }
    Err(format!("{}\nrun `cargo run -p dashboards-gen` and commit", drift.join("\n")))
}
