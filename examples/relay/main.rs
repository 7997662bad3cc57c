//! Relays events to webhooks and files, and loses none without saying so.
//!
//! Without arguments it is a demonstration that ends by itself: see [`demo`]. With arguments it is a tool that relays NDJSON, a
//! line an event: see [`cli`], or `cargo run --release --example relay -- --help`.
//!
//! The modules in the order in which to read them: [`pipeline`] builds the branches of the fan-out, [`run`] feeds and closes
//! it, [`demo`] and [`tool`] are the two mains.

mod account;
mod cli;
mod demo;
mod event;
mod input;
mod ndjson;
mod pace;
mod pipeline;
mod progress;
mod receiver;
mod run;
mod tool;
mod watched;

use std::process::ExitCode;

use clap::Parser;

/// Something was lost, or is not as accounted.
const FAILED: u8 = 1;
/// The arguments, or what they name, cannot be used. Nothing was sent.
const UNUSABLE: u8 = 2;
/// Ended by Ctrl-C, by the shells' convention.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 { demo::main() } else { tool::main(&cli::Args::parse()) }
}
