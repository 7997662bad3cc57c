#!/usr/bin/env bash
# A user who builds a program with `--cfg loom`, for models of their own, gets this crate's normal code: builds one in a temporary directory that sends an
# event through a queue outside any model, where loom's primitives would panic. Usage: ci/user-loom.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
# The versions that are locked here, so that it needs no more of a registry than the other steps do.
cp Cargo.lock "$scratch/"
mkdir "$scratch/src"
cat >"$scratch/Cargo.toml" <<TOML
[package]
name = "dependent"
version = "0.0.0"
edition = "2024"

[dependencies]
sinkworks = { path = "$root" }

[workspace]
TOML
cat >"$scratch/src/main.rs" <<'RUST'
#![allow(unexpected_cfgs)]
use sinkworks::{Queue, Shutdown, Sink, sink_fn};

fn main() {
    assert!(cfg!(loom), "built without the flag");
    let queue = Queue::new(sink_fn(|_: &u32| Ok(())));
    queue.send(1).unwrap();
    queue.close(Shutdown::Drain).unwrap();
    assert_eq!(queue.ledger().delivered, 1);
    println!("delivered under --cfg loom");
}
RUST
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/user-loom"
if RUSTFLAGS="--cfg loom" cargo tree --quiet --manifest-path "$scratch/Cargo.toml" | grep -q 'loom v'; then
    echo "ci/user-loom.sh: --cfg loom brings loom into this crate" >&2
    exit 1
fi
RUSTFLAGS="--cfg loom" cargo run --quiet --manifest-path "$scratch/Cargo.toml"
