#!/usr/bin/env bash
# The stress suite under sanitizers. Not part of ci/test.sh: it builds everything anew, twice, and takes more than ten minutes on 2 cores.
# Usage: ci/sanitize.sh [address|thread|valgrind]..., from any directory. Without an argument: all three.
#
# This crate forbids unsafe code; the queues, snapshots and waiting below it do not.
#
# - address: AddressSanitizer, with leaks. Needs a nightly toolchain.
# - thread: ThreadSanitizer. Needs a nightly toolchain and its source of std, which is built instrumented too: the component rust-src. It does not model
#   stand-alone fences: where an ordering rests on `fence(SeqCst)` alone, as the wake-ups here do, it cannot tell that it is missing, and may report a race on data
#   published through one. Those protocols are the loom models' affair. It does see every unsynchronised access to plain memory.
# - valgrind: memcheck on tests whose time does not depend on threads running at once: it runs one at a time, and sees few interleavings.
#
# SINKWORKS_STRESS_SECONDS sets how long each component is played; each pair is played once at least.
#
# All three have been run, with SINKWORKS_STRESS_SECONDS=1, a nightly 1.97.0 of 2026-05-19 and valgrind 3.19, and found nothing: `address` and `thread` played every pair of every component
# (32 rounds at least, of the pool 8), in five minutes each with the build on 2 busy cores. `thread` installed rust-src by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/debian.sh

host=x86_64-unknown-linux-gnu
target=${CARGO_TARGET_DIR:-target}
export SINKWORKS_STRESS_SECONDS="${SINKWORKS_STRESS_SECONDS:-5}"

cannot() {
    echo "ci/sanitize.sh: $1" >&2
    exit 1
}

nightly() {
    cargo +nightly --version 2>/dev/null || cannot "no nightly toolchain is installed: rustup toolchain install nightly"
    [[ $(rustc +nightly -vV | sed -n 's/^host: //p') == "$host" ]] || cannot "written for $host"
}

address() {
    nightly
    RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$target/asan" \
        cargo +nightly test --locked --target "$host" --test stress -- --test-threads=1 --nocapture
}

thread() {
    nightly
    if [[ ! -d $(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library ]]; then
        rustup component add rust-src --toolchain nightly || cannot "the component rust-src is missing and cannot be installed"
    fi
    RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR="$target/tsan" \
        cargo +nightly test --locked -Zbuild-std --target "$host" --test stress -- --test-threads=1 --nocapture
}

memcheck() {
    if ! command -v valgrind >/dev/null; then
        from_debian valgrind valgrind
    fi
    # Leaks are no errors here: the threads of the global pool live until the process ends.
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=9 --fair-sched=yes" \
        cargo test --locked --test sequences --test receipts --test required -- --test-threads=1
}

[[ $# -gt 0 ]] || set -- address thread valgrind
for check in "$@"; do
    printf '\n=== %s\n' "$check"
    case $check in
        address) address ;;
        thread) thread ;;
        valgrind) memcheck ;;
        *) cannot "no such check: $check" ;;
    esac
done
printf '\nci/sanitize.sh: nothing was found\n'
