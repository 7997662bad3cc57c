#!/usr/bin/env bash
# Checks the dashboards, the alerts and the runbook. Usage: ci/dashboards.sh, from any directory.
#
# They must be as the generator makes them from the table of names, keep the rules of the lint, and show a real outage: the demonstration of the
# relay, and a program that uses every component, go through one while a Prometheus of their own, in a temporary folder and on free ports of the
# loopback interface, scrapes them. promtool checks the exposition and the rules and runs their tests; every panel and every alert must find data;
# the scrapes must show both outages, and the last values must be what the programs have counted.
#
# Needs Rust, and prometheus with promtool: installed by apt-get where that is Debian's and this is root. The last line is
# `N panels, N alerts, 0 empty`. The exit status is 0 only then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/debian.sh

if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
    program_from_debian "prometheus or promtool" prometheus prometheus
    command -v prometheus
    command -v promtool
fi
prometheus --version 2>&1 | head -n 1
cargo build --locked -p dashboards-gen --bins
cargo build --locked --example relay
cargo run --quiet --locked -p dashboards-gen -- --check
cargo test --quiet --locked -p dashboards-gen --test lint
cargo run --quiet --locked -p dashboards-gen -- live
