#!/usr/bin/env bash
# Leaves out, one at a time, the steps that a test must miss: closed checks and the like, for which no order of threads is needed. The steps that rest on one are
# the affair of ci/loom.sh. Usage: ci/mutations.sh [FILTER], from any directory.
#
# Builds the tests with `--cfg sinkworks_mutated`, in a target directory of its own; the environment variable SINKWORKS_MUTATION then names the step that is left
# out. Each test is run as it is and must pass within 10 s, and then without the step and must fail, or not end within 10 s. Ends with one line: N steps missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/mutated"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg sinkworks_mutated"
export RUST_BACKTRACE=0
filter=${1:-}

# Step, test program (`lib`: the unit tests), test.
read -r -d '' steps <<'STEPS' || true
batch_close_ends_the_linger batching every_way_to_close_but_an_abort
batch_closed_sink_ends_the_linger batching a_sink_that_closes_closes_the_queue
batch_function_sees_the_close closed a_batch_function_is_called_no_more
batch_linger_sets_the_timer batching a_full_batch_goes_at_once
batch_offers_nothing_to_a_closed_sink closed a_sink_of_batches_that_has_closed
breaker_counts_while_closed breaker disabled_everything_passes_and_nothing_trips
breaker_open_until breaker when_a_probe_fails_as_many_as_there_are_probes_learn_the_new_time
breaker_rate_closes_by_a_probe breaker a_probe_from_before_has_lost_its_say
broadcaster_adds_once go_events a_broadcaster_adds_once
broadcaster_asks_who_has_not_answered go_events a_broadcaster_adds_once
broadcaster_closed_is_empty closed a_broadcaster_keeps_no_sink_that_it_has_refused
broadcaster_closed_list_keeps lib a_closed_list_stays_as_it_is
broadcaster_closed_list_stays closed a_broadcaster_keeps_no_sink_that_it_has_refused
broadcaster_fails_for_no_removed required removing_the_sink_that_fails
broadcaster_remove_sees_the_close go_events a_broadcaster_adds_once
broadcaster_waits_for_no_removed required a_writer_that_waits_for_a_sink_that_is_removed_goes_on
close_parks_no_worker closing a_sink_that_closes_the_whole_chain
closing_lock_sees_the_close ndjson a_close_does_not_wait_for_a_write_that_hangs
cycle_is_seen cycles a_queue_in_front_of_itself_closes
endpoint_sees_the_stop prometheus a_scrape_gets_the_text_format
fallback_sees_the_close closed a_fallback_asks_neither_sink
file_sees_the_wish_to_reopen ndjson lines_go_to_the_renamed_file
filter_sees_the_close contract filters_and_functions_keep_the_contract
function_sees_the_close contract filters_and_functions_keep_the_contract
histogram_looks_again lib a_reader_that_is_held_up_between_its_two_looks
histogram_notes lib counts_beyond_their_bits_are_exact
kit_failing_sees_the_close closed the_kits_failing_sinks
kit_flaky_sees_the_close closed the_kits_failing_sinks
kit_hesitating_sees_the_close contract the_sinks_of_the_test_kit_keep_the_contract_around
kit_slow_sees_the_close contract the_sinks_of_the_test_kit_keep_the_contract_around
letters_replay_ends_with_the_close closed a_replay_ends_with_the_close
pool_post_starts_what_is_missing lib a_pool_without_its_threads
pool_unneeded_retires shrinking a_pool_shrinks_while_short_turns_go_on
queue_ends_once closed a_destination_that_has_closed_is_asked_no_more
queue_offers_nothing_to_a_closed_sink closed a_sink_that_has_closed_is_offered_no_other
queue_turn_sees_the_deadline shutdown until_becomes_an_abort_at_its_time
receipt_is_final receipts a_receipt_comes_when_the_last_clone_is_gone
receipt_parks_no_worker receipts on_a_pool_thread_nobody_waits_for_itself
retry_sees_the_close closed a_retrying_sink_asks_its_sink_no_more
retry_tells_the_deadline lib an_event_that_becomes_too_old
room_closed_before_the_policy overflow a_closed_queue_without_bytes
room_closed_clones_nothing closed a_queue_with_room_clones_no_event
room_knows_why_it_closed overflow disconnect_closes_the_queue
stdout_gone_is_closed ndjson a_reader_that_is_gone_closes_it
stdout_sees_the_close ndjson it_keeps_the_contract
time_limit_tells_its_end time_limit a_sink_that_is_not_ready_in_time
webhook_gone_is_closed webhook an_endpoint_that_is_gone_closes
webhook_sees_the_close webhook after_a_close_nothing_is_sent
write_parks_no_worker chained a_sink_that_writes_to_the_full_second_queue_tries_again
STEPS

mapfile -t chosen < <(grep -F -- "$filter" <<<"$steps" || true)
if [[ ${#chosen[@]} -eq 0 ]]; then
    echo "ci/mutations.sh: no step's line contains '$filter'" >&2
    exit 2
fi

# program NAME: how cargo calls it.
program() {
    if [[ $1 == lib ]]; then echo --lib; else echo "--test=$1"; fi
}

mapfile -t programs < <(for line in "${chosen[@]}"; do program "$(cut -d' ' -f2 <<<"$line")"; done | sort -u)
cargo test --quiet --locked --no-run "${programs[@]}"

output=$(mktemp)
trap 'rm -f -- "$output"' EXIT
failed=0
for line in "${chosen[@]}"; do
    read -r step name test <<<"$line"
    run=(cargo test --quiet --locked "$(program "$name")" -- "$test")
    if ! timeout 10 "${run[@]}" >"$output" 2>&1 || ! grep -Eq 'test result: ok. [1-9]' "$output"; then
        cat "$output"
        echo "$step: $name $test does not pass as it is"
        failed=1
    elif SINKWORKS_MUTATION=$step timeout 10 "${run[@]}" >"$output" 2>&1; then
        echo "$step SURVIVED: $name $test"
        failed=1
    else
        echo "$step missed by $name: $test"
    fi
done
echo "${#chosen[@]} steps$([[ $failed -eq 0 ]] && echo ' missed' || echo ', FAILED')"
exit "$failed"
