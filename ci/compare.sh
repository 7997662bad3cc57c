#!/usr/bin/env bash
# sinkworks beside its peers: the scenarios of benches/README.md. Usage: ci/compare.sh [--quick] [--write] [--check], from any directory.
#
# Prints one line per figure: scenario, contender, figure, unit, ratio (ours / theirs, below 1 is better for us), and at the end a line for each mark,
# met or missed. The exit status does not say whether they are met: figures of a busy machine are no reason to fail.
#
# --quick takes fewer rounds and ends within three minutes on two cores, once everything is built. --write puts tables and plots in benches/README.md.
# SCENARIOS chooses among s1 to s9, as in SCENARIOS=s1,s3.
#
# --check measures only what the project promises, each ratio as the median of several processes, and fails if one is missed: a broadcast to idle queues beside
# tokio's tasks, webhooks beside go-events.
#
# Needs Rust; qubit-event-bus is left out, and that is said, where Rust is older than 1.94. Go, docker/go-events and valgrind (for s6) are installed
# by apt-get where that is Debian's and this is root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/debian.sh

quick=""
write=""
check=""
for arg in "$@"; do
    case $arg in
    --quick) quick=yes ;;
    --write) write=yes ;;
    --check) check=yes ;;
    *)
        echo "ci/compare.sh: there is no option $arg: [--quick] [--write] [--check]" >&2
        exit 2
        ;;
    esac
done
scenarios=${SCENARIOS:-s1,s3,s4,s5,s9,s2,s8,s7,s6}

target=$(cargo metadata --locked --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

gopath=/usr/share/gocode

install_go() {
    if command -v go >/dev/null && [[ -d $gopath/src/github.com/docker/go-events ]]; then
        return
    fi
    from_debian "Go or docker/go-events" golang-go golang-github-docker-go-events-dev golang-github-sirupsen-logrus-dev >&2
    go version >&2
}

# Debian's packages are sources for a GOPATH, without modules. Nothing is fetched.
build_go() {
    (cd benches/go-events && GO111MODULE=off GOPATH=$gopath GOFLAGS='' go build -o "$target/go-events-bench" .)
}

build_rust() {
    local features=()
    if [[ $(rustc --version) =~ ^rustc\ ([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 94)); then
        features=(--features qubit)
    fi
    cargo build --locked --release --quiet --package compare --bins "${features[@]}"
}

facts() {
    local commit changed=""
    commit=$(git rev-parse --short HEAD)
    if [[ -n $(git status --porcelain -- src benches Cargo.lock ':!benches/README.md' ':!benches/figures') ]]; then
        changed=", with changes that are not committed"
    fi
    echo "# fact Machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r)"
    echo "# fact Toolchain: $(rustc --version); $(go version)"
    echo "# fact Packages: go-events $(dpkg-query --show --showformat='${Version}' golang-github-docker-go-events-dev 2>/dev/null ||
        echo 'of unknown version'); $(peers)"
    echo "# fact Commit: $commit$changed"
    echo "# fact Run: ${quick:+quick, }$(date --utc +%Y-%m-%d); processes that ran or waited when it began, in the average of 1, 5 and 15 minutes:" \
        "$(cut -d ' ' -f 1-3 /proc/loadavg)"
}

# The peers' versions.
peers() {
    cargo tree --locked --package compare --features qubit --depth 1 --prefix none --edges normal |
        awk '/^(async|bus|crossbeam-channel|crossfire|flume|kanal|qubit|tokio)/ { print $1, substr($2, 2) }' | paste --serial --delimiters=, | sed 's/,/, /g'
}

chosen() {
    [[ ,$scenarios, == *,$1,* ]]
}

# From the sentences of ci/telemetry-cost.sh. Its own verdict is that of ci/test.sh; here the marks judge.
telemetry() {
    local said=$scratch/telemetry
    PAIRS=$([[ -n $quick ]] && echo 3 || echo 11) ci/telemetry-cost.sh >"$said" || [[ -s $said ]]
    awk '
        function line(scenario, unit, with, bare, ratio) {
            printf "%s sinkworks %s %s 1.000\n%s without-telemetry %s %s %s\n", scenario, with, unit, scenario, bare, unit, ratio
        }
        /^instructions of/ { count = $3; gsub(",", "", count); line("s6-instructions-write", "instructions/event", $5 / count, $9 / count, $11) }
        /^with their delivery/ { line("s6-instructions-delivered", "instructions/event", $4 / count, $8 / count, $10) }
        /^time of a write/ { line("s6-time-write", "ns", $5, $8, $NF) }
        /^time of a delivery/ { line("s6-time-delivery", "ns", $5, $8, $NF) }
    ' "$said"
}

measure() {
    facts
    echo "scenario contender figure unit ratio"
    local scenario program
    # Each in a process of its own: what threads one leaves behind would be in the processor time of the next.
    for scenario in s1 s3 s4 s5 s9 s2 s8 s7; do
        if chosen "$scenario"; then
            program=compare
            [[ $scenario == s[78] ]] && program=memory
            "$target/release/$program" ${quick:+--quick} --go "$target/go-events-bench" --only "$scenario"
        fi
    done
    if chosen s6; then
        telemetry
    fi
}

install_go
build_go
if [[ -n $check ]]; then
    cargo build --locked --release --quiet --package compare --bin compare
    "$target/release/compare" --check --go "$target/go-events-bench"
    exit
fi
build_rust
measure | tee "$scratch/lines"
"$target/release/report" ${write:+--readme benches/README.md} <"$scratch/lines"
