#!/usr/bin/env bash
# Every check of the project, one after the other. Usage: ci/test.sh, from any directory.
#
# Needs Rust. What else is missing is installed: rustfmt and clippy by rustup; a C compiler (which links every program, and compiles
# the TLS of the feature `webhook`), valgrind, prometheus, docker-registry, Go and docker/go-events by apt-get where that is Debian's and this is root. Where
# it cannot be, the script says so and fails.
#
# Each step says its name and, when it has succeeded, how long it took. The last line says that all have passed. The exit status
# is 0 only then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/debian.sh

step=""
scratch=""

finish() {
    local status=$?
    if [[ -n $scratch ]]; then
        rm -f -- "$scratch"
    fi
    if [[ $status -ne 0 ]]; then
        echo "ci/test.sh: FAILED${step:+: $step}" >&2
    fi
    exit "$status"
}
trap finish EXIT

# run TITLE COMMAND...: runs one step. A failure ends the script, and `finish` names the step. Not to be called in a condition: bash would then
# go on after a failure inside it.
run() {
    step=$1
    shift
    printf '\n=== %s\n' "$step"
    local began=$SECONDS
    "$@"
    printf '=== %s: passed in %d s\n' "$step" "$((SECONDS - began))"
    step=""
}

cannot() {
    echo "ci/test.sh: $1" >&2
    return 1
}

component() {
    local name=$1 subcommand=$2
    if cargo "$subcommand" --version >/dev/null 2>&1; then
        return
    fi
    if ! command -v rustup >/dev/null; then
        cannot "cargo $subcommand is missing, and there is no rustup to install it: install the Rust component $name"
    fi
    echo "installing the Rust component $name"
    rustup component add "$name"
    cargo "$subcommand" --version
}

c_compiler() {
    if command -v cc >/dev/null; then
        return
    fi
    from_debian "a C compiler" gcc libc6-dev
    command -v cc
}

tools() {
    if ! command -v cargo >/dev/null; then
        cannot "cargo is missing: install Rust 1.85 or newer, see https://rustup.rs"
    fi
    c_compiler
    component rustfmt fmt
    component clippy clippy
    cargo --version
    rustc --version
}

# Without the crate's own tests, so that no feature is switched on but the one named.
clippy_alone() {
    echo "features: ${1:-none}"
    cargo clippy --locked --lib --no-default-features --features "$1" -- -D warnings
}

clippy_features() {
    clippy_alone ""
    clippy_alone prometheus
    clippy_alone tracing
    clippy_alone webhook
    clippy_alone ndjson
    clippy_alone test-util
}

# One after the other and each alone, since they measure latencies, processor time and threads of the process.
measuring_tests() {
    cargo test --locked --release --test refusing -- --include-ignored --test-threads=1 --nocapture
    cargo test --locked --release --test swallowing -- --include-ignored --test-threads=1 --nocapture
    cargo test --locked --release --test overflow_cost -- --include-ignored --test-threads=1 --nocapture
    cargo test --locked --release --test soak -- --include-ignored --test-threads=1 --nocapture
    cargo test --locked --release --test faults -- --include-ignored --test-threads=1 --nocapture
    cargo test --locked --release --test scrape -- --include-ignored --test-threads=1 --nocapture
    # The tests of the relay run its example, which `--test` alone does not build.
    cargo build --locked --release --example relay
    cargo test --locked --release --test relay hostile -- --include-ignored --test-threads=1 --nocapture
}

# Longer than in `cargo test`, and faster: some hundred rounds of every pair of operations, some ten thousand inputs of every parser.
stress_tests() {
    SINKWORKS_STRESS_SECONDS=10 cargo test --locked --release --test stress -- --test-threads=1 --nocapture
    SINKWORKS_FUZZ_SECONDS=8 cargo test --locked --release --test fuzz --test sequences -- --nocapture
}

# With no feature too: a link to what a feature adds must not break without it.
documentation() {
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --locked --no-deps
    RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --locked --no-deps --all-features
}

# The demonstration compares for itself what arrived with what was accounted, and says the result in its exit status. This also looks
# that it has printed one line for each of its three queues, each with everything that it accepted delivered.
demonstration() {
    local name
    scratch=$(mktemp)
    cargo run --locked --release --example relay | tee "$scratch"
    for name in webhook file console; do
        if ! grep -Eq "^queue=$name accepted=([1-9][0-9]*) delivered=\1 dropped=0 pending=0\$" "$scratch"; then
            cannot "the demonstration has printed no line in which queue $name delivered everything"
        fi
    done
    rm -f -- "$scratch"
    scratch=""
}

run "tools" tools
run "format" cargo fmt --all --check
run "clippy, everything" cargo clippy --locked --workspace --all-targets -- -D warnings
run "clippy, the library with no feature and with each alone" clippy_features
run "tests: unit, integration, documentation" cargo test --locked
run "tests that measure, in release" measuring_tests
run "stress and random inputs, in release" stress_tests
run "what telemetry costs" ci/telemetry-cost.sh
run "documentation" documentation
run "demonstration" demonstration
run "dashboards and alerts, with a real Prometheus" ci/dashboards.sh
run "the relay, with a real Docker registry" ci/registry.sh
run "comparison with its peers, promised ratios" ci/compare.sh --check
run "models of the concurrency" ci/loom.sh
run "steps left out under the tests" ci/mutations.sh
run "a dependent program built with --cfg loom" ci/user-loom.sh

printf '\nci/test.sh: all passed in %d s\n' "$SECONDS"
