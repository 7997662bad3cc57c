//! Relays events to webhooks and files, and loses none without saying so.
//!
//! Without arguments, or with `--demo`, it is a demonstration that ends by itself: see [`demo`]. With others it is a tool that relays NDJSON, a
//! line an event: see [`cli`], or `cargo run --release --example relay -- --help`.
//!
//! The modules in the order in which to read them: [`pipeline`] builds the branches of the fan-out, [`run`] feeds and closes
//! it, [`demo`] and [`tool`] are the two mains.

mod account;
mod cli;
mod config;
mod demo;
mod document;
mod endpoints;
mod event;
mod http;
mod input;
mod letters;
mod listen;
mod pace;
mod pipeline;
mod posted;
mod progress;
mod receiver;
mod relayed;
mod replay;
mod run;
mod tool;
mod watched;

use std::process::ExitCode;

use clap::Parser;
use cli::Command;

/// Something was lost, or is not as accounted.
const FAILED: u8 = 1;
/// The arguments, or what they name, cannot be used. Nothing was sent.
const UNUSABLE: u8 = 2;
/// Ended by Ctrl-C, by the shells' convention.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let is_bare = std::env::args_os().len() <= 1;
    let args = cli::Args::parse();
    match &args.command {
        Some(Command::Check { file }) => return config::main(file),
        Some(Command::Replay { file, config, grace }) => return replay::main(file, config, *grace),
        None => {}
    }
    if let (Some(address), Some(file)) = (&args.listen, &args.config) {
        return listen::main(&args, address, file);
    }
    if is_bare || args.demo { demo::main(&args) } else { tool::main(&args) }
}
