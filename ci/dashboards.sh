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

policy=/usr/sbin/policy-rc.d
own_policy=""

finish() {
    if [[ -n $own_policy ]]; then
        rm -f -- "$policy"
    fi
}
trap finish EXIT

install_prometheus() {
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
        return
    fi
    # The package brings a service, which nobody needs here. This is Debian's way to say that none may be started.
    if [[ -d ${policy%/*} && -w ${policy%/*} && ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        own_policy=yes
    fi
    from_debian "prometheus or promtool" prometheus
    finish
    own_policy=""
    # Nor when the machine starts the next time.
    if command -v systemctl >/dev/null; then
        systemctl disable prometheus || true
    fi
    command -v prometheus
    command -v promtool
}

install_prometheus
prometheus --version 2>&1 | head -n 1
cargo build --locked -p dashboards-gen --bins
cargo build --locked --example relay
cargo run --quiet --locked -p dashboards-gen -- --check
cargo test --quiet --locked -p dashboards-gen --test lint
cargo run --quiet --locked -p dashboards-gen -- live
