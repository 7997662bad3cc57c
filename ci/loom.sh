#!/usr/bin/env bash
# Runs the models of the concurrency and the mutations that they must catch. Usage: ci/loom.sh [FILTER]
# Ends with one line: N models, M executions, K mutations caught.
#
# As many models run at a time as there are processors; SINKWORKS_LOOM_JOBS=N says otherwise. SINKWORKS_LOOM_PREEMPTIONS=N sets the bound of all models, for
# a longer run.
set -euo pipefail
cd "$(dirname "$0")/.."
# A target directory of its own: the flag would rebuild everything else.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg sinkworks_loom"
# The crate's own assertions are part of what the models check.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
exec cargo run --quiet --locked --release --package loom-tests -- "$@"
