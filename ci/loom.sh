#!/usr/bin/env bash
# Runs the models of the concurrency and the mutations that they must catch. Usage: ci/loom.sh [FILTER]
# Ends with one line: N models, M executions, K mutations caught.
set -euo pipefail
cd "$(dirname "$0")/.."
# A target directory of its own: the flag would rebuild everything else.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg sinkworks_loom"
exec cargo run --quiet --locked --release --package loom-tests -- "$@"
