#!/usr/bin/env bash
# A real Docker registry notifies the relay. Usage: ci/registry.sh, from any directory.
#
# A client pushes, mounts, pulls and deletes blobs and manifests over the registry's HTTP API. The relay gets the registry's notifications and passes them
# on to two endpoints, one of which answers 503 for ten seconds. At both must arrive what the registry tells a third receiver directly, which must be what the
# client did: all of it, in order, unchanged, and signed. Then again with a queue that is too short for the outage, so that the relay refuses the registry.
# All of it is on the loopback interface and in a temporary folder.
#
# Needs Rust, and docker-registry: installed by apt-get where that is Debian's and this is root. Four lines for each of the two say what was counted.
# The exit status is 0 only if nothing was lost.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/debian.sh

if ! command -v docker-registry >/dev/null; then
    program_from_debian docker-registry docker-registry docker-registry
    command -v docker-registry
fi
docker-registry --version
cargo build --locked --example relay
cargo test --locked --test registry -- --include-ignored --test-threads=1 --nocapture
