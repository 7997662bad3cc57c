#!/usr/bin/env bash
# What telemetry costs: the same program built with it and without (--cfg sinkworks_bare), a million events each.
# Usage: ci/telemetry-cost.sh, from any directory. Needs valgrind, which is installed where that is Debian's and this is root.
#
# Counts, by callgrind, the instructions of the writes and of the turns that deliver. Fails if a write, or a write and its delivery together, takes more
# than 1.03 times the instructions, or a write in the median of PAIRS alternating pairs (default 11) more than 1.10 times the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ci/debian.sh

pairs=${PAIRS:-11}
target=${CARGO_TARGET_DIR:-target}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

if ! command -v valgrind >/dev/null; then
    from_debian valgrind valgrind
fi

# Symbols are not mangled beyond what callgrind can read, and each build has a directory of its own: the flag would rebuild everything.
build() {
    local name=$1 flags=$2
    CARGO_TARGET_DIR="$target/cost-$name" RUSTFLAGS="${RUSTFLAGS:-} $flags" \
        cargo build --locked --release --quiet --package cost
    cp "$target/cost-$name/release/cost" "$scratch/$name"
}
build with ""
build bare "--cfg sinkworks_bare"

# The instructions inside functions whose name matches, in all threads, for 200,000 events (callgrind takes fifty times as long).
instructions() {
    local name=$1 inside=$2
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --toggle-collect="$inside" \
        "$scratch/$name" 200000 >/dev/null 2>"$scratch/err"
    awk '/^(summary|totals):/ { print $2; exit }' "$scratch/out"
}

ratio() {
    awk -v with="$1" -v bare="$2" 'BEGIN { printf "%.4f", with / bare }'
}

within() {
    awk -v ratio="$1" -v most="$2" 'BEGIN { exit !(ratio <= most) }'
}

status=0
report() {
    local what=$1 with=$2 bare=$3 most=$4 unit=$5 ratio
    ratio=$(ratio "$with" "$bare")
    echo "$what: $with $unit with telemetry, $bare without: $ratio (at most $most)"
    within "$ratio" "$most" || status=1
}

write_with=$(instructions with '*write_events*')
write_bare=$(instructions bare '*write_events*')
turn_with=$(instructions with '*queue::turn::turn*')
turn_bare=$(instructions bare '*queue::turn::turn*')
report "instructions of 200,000 writes" "$write_with" "$write_bare" 1.03 instructions
report "with their delivery" "$((write_with + turn_with))" "$((write_bare + turn_bare))" 1.03 instructions

# time BINARY COLUMN: nanoseconds per event; 1 is a write, 2 a delivery.
for ((pair = 0; pair < pairs; pair++)); do
    "$scratch/with" >>"$scratch/with.times"
    "$scratch/bare" >>"$scratch/bare.times"
done
median() {
    awk -v column="$2" '{ print $column }' "$scratch/$1.times" | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}
# The median of the pairs' ratios, so that a slow moment of the machine meets both.
pair_ratio() {
    paste "$scratch/with.times" "$scratch/bare.times" | awk -v column="$1" '{ print $column / $(column + 2) }' |
        sort -n | awk '{ all[NR] = $1 } END { printf "%.4f", all[int((NR + 1) / 2)] }'
}
for what in "1 write" "2 delivery"; do
    column=${what%% *}
    echo "time of a ${what#* }: $(median with "$column") ns with, $(median bare "$column") ns without; median ratio of $pairs pairs $(pair_ratio "$column")"
done
within "$(pair_ratio 1)" 1.10 || status=1

if [[ $status -ne 0 ]]; then
    echo "ci/telemetry-cost.sh: telemetry costs too much" >&2
fi
exit "$status"
