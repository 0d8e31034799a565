# shellcheck shell=bash
# What each suite is: its parts, and how each is built and run. Sourced by ./dev, after tools/test.sh, whose functions it
# uses. The parts of one suite share a function, part_SUITE.

test_suites_all=(unit scenario sim seeds install examples asan tsan valgrind fuzz broker stores)
test_suites_apart=(mutants exactly-once chaos) # run only when named
# Run first under valgrind, which then has translated most of what the others of their suite run.
declare -A test_warm_up=(
    [scenario]='consumer_hello/messages_come_are_committed_and_do_not_come_again
        consumer_outputs/arrive_in_transactions
        consumer_api/keeps_the_order_of_keys_across_retries_and_commits_to_the_end
        kafka_group/a_second_member_takes_half_in_a_cooperative_group'
    [sim]='consumer/loses_no_output_under_everything_at_once
        batches/lose_no_output_under_everything_at_once
        consumer/writes_exactly_once_under_everything_at_once
        priority/loses_nothing_and_keeps_the_order_under_everything_at_once
        key_state/is_kept_from_message_to_message_of_its_key_and_of_no_other
        filters/keep_the_rate_of_all_and_start_no_more_whatever_the_number_of_keys
        circuit_breaker/is_opened_by_an_overloaded_downstream_where_that_is_asked_for'
)
test_suites_of_librdkafka=(unit scenario sim broker chaos exactly-once) # which another librdkafka can be tried with

lane_of() { # PART
    case $1 in
    *scenario) echo waits ;;
    install | examples | fuzz | broker | chaos | stores | exactly-once) echo broker ;;
    *) echo computes ;;
    esac
}

parts_of() { # SUITE
    case $1 in
    asan | tsan | valgrind) printf '%s\n' "$1/unit" "$1/scenario" "$1/sim" ;;
    *) echo "$1" ;;
    esac
}

# Scenarios mostly wait: for librdkafka, for a mock cluster's rebalances.
jobs_of() { # SUITE
    if [ "$1" = scenario ]; then echo 4; else echo 2; fi
}

run_criterion() { # SUITE
    local filter=()
    [ -z "$test_filter" ] || filter=(--filter "*$test_filter*")
    "$test_folder/tests/test-$1" --verbose --jobs "$(jobs_of "$1")" --timeout "${WEIR_TEST_TIMEOUT_S:-120}" "${filter[@]}"
}

# The same under a sanitizer or valgrind, which is what the prefix is for.
run_plain() { # BUILD SUITE [PREFIX...]
    local program=$1/tests/plain-$2 jobs
    jobs=$(jobs_of "$2")
    shift 2
    "$@" "$program" --jobs "$jobs" "$test_filter"
}

part_of_normal_build() { # PART
    built "$test_prefix$1" "$test_build" "tests/test-$1" || return 0
    run_part "$test_prefix$1" run_criterion "$1"
}

part_unit() { part_of_normal_build "$1"; }
part_scenario() { part_of_normal_build "$1"; }
part_sim() { part_of_normal_build "$1"; }

# The simulated consumer under thousands of seeds.
part_seeds() {
    built seeds build_normal tests/test-sim || return 0
    local -x WEIR_TEST_SCALE=${WEIR_TEST_SEEDS_PERCENT:-500} WEIR_TEST_TIMEOUT_S=900
    local test_filter=${test_filter:-consumer/}
    run_part seeds run_criterion sim
}

part_install() {
    built install build_normal || return 0
    run_part install "$root/tests/install/run.sh" "$root/build"
}

part_examples() {
    built examples build_normal || return 0
    run_part examples run_examples
}

run_examples() {
    on_postgres meson test -C "$root/build" --no-rebuild --suite examples --print-errorlogs --num-processes 2
}

part_asan() { # PART
    local -x WEIR_TEST_SCALE=25 WEIR_TEST_TIMEOUT_S=240
    local -x ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    local -x UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    built "$1" build_asan tests/plain-{unit,scenario,sim} || return 0
    run_part "$1" run_plain "$root/build/asan" "${1#*/}"
}

part_tsan() { # PART
    local fixed=()
    local -x WEIR_TEST_SCALE=25 WEIR_TEST_TIMEOUT_S=240
    [ "${1#*/}" != sim ] || WEIR_TEST_SCALE=5 # it has one thread: what races is in the other two
    local -x TSAN_OPTIONS=suppressions=$root/tests/support/tsan.supp:second_deadlock_stack=1:history_size=4
    built "$1" build_tsan tests/plain-{unit,scenario,sim} || return 0
    # ThreadSanitizer of gcc 12 cannot run where the kernel spreads addresses over more than 28 bits.
    setarch -R true 2>/dev/null && fixed=(setarch -R)
    run_part "$1" run_plain "$root/build/tsan" "${1#*/}" "${fixed[@]}"
}

# Uninitialised and freed memory. Leaks are looked for in the unit suite only: simulated processes that crash leave
# theirs behind, which only AddressSanitizer can be told. Of scenarios only memory is judged: at valgrind's pace
# librdkafka's mock cluster now and then does not answer a JoinGroup at all, and a test waits in vain.
part_valgrind() { # PART
    local -x WEIR_TEST_SCALE=5 WEIR_TEST_TIMEOUT_S=480
    local leaks=(--leak-check=no)
    built "$1" build_normal tests/plain-{unit,scenario,sim} || return 0
    [ -n "$test_filter" ] || local -x WEIR_TEST_WARM_UP=${test_warm_up[${1#*/}]:-}
    case ${1#*/} in
    unit) leaks=(--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite) ;;
    scenario) local -x WEIR_TEST_MEMORY_STATUS=9 WEIR_TEST_TIMEOUT_S=60 WEIR_TEST_WAIT_S=25 ;;
    esac
    run_part "$1" run_plain "$root/build" "${1#*/}" valgrind -q --error-exitcode=9 --fair-sched=yes \
        --sanity-level=0 "${leaks[@]}"
}

# Each parser on bytes made up from its corpus, for a few seconds; one that finds nothing to complain of has passed.
part_fuzz() {
    local fuzzers
    mapfile -t fuzzers < <(cd "$root" && compgen -G 'tests/fuzz/*.c' | sed 's|.*/\(.*\)\.c$|tests/fuzz-\1|')
    if [ ${#fuzzers[@]} -eq 0 ]; then
        run_part fuzz true
    elif build_fuzz "${fuzzers[@]}"; then
        run_part fuzz run_fuzzers "${fuzzers[@]}"
    else
        keep_totals fuzz 0 1 0
    fi
}

run_fuzzers() { # FUZZER...
    local fuzzer name found passed=0 failed=0 seconds=${WEIR_TEST_FUZZ_S:-5}
    for fuzzer; do
        name=${fuzzer#tests/fuzz-} found=$root/build/fuzz/found/${fuzzer#tests/fuzz-}
        mkdir -p "$found" "$root/tests/fuzz/corpus/$name"
        echo "== $name"
        if "$root/build/fuzz/$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
            -artifact_prefix="$found-" "$found" "$root/tests/fuzz/corpus/$name" 2>&1 | grep -v '^#.*\(NEW\|REDUCE\)'; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "FAILED fuzz/$name: see build/fuzz/found/$name-*"
        fi
    done
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
}

part_broker() {
    built "${test_prefix}broker" "$test_build" tests/test-broker || return 0
    run_on_kafka "${test_prefix}broker" run_broker
}

# Members in processes of their own are killed, stopped, added, and brokers as well, while what they emit is counted.
part_exactly-once() {
    local name=$test_prefix$1
    local log=$logs/test-${name//\//-}.log
    built "$name" "$test_build" tests/test-once || return 0
    rm -f "$log"
    run_on_kafka "$name" run_once
    [ ! -f "$log" ] || show_counts "$log"
}

# What its scenes have counted, a line a scene, and the sums.
show_counts() { # LOG
    awk '/^exactly once: scene=/ {
            print
            scenes++
            for (i = 4; i <= NF; i++) {
                split($i, pair, "=")
                if (!(pair[1] in sum))
                    names[++count] = pair[1]
                sum[pair[1]] += pair[2]
            }
        }
        END {
            printf "exactly once: %d scenes", scenes
            for (i = 1; i <= count; i++)
                printf " %s=%d", names[i], sum[names[i]]
            print ""
        }' "$1" >&2
}

run_once() {
    local filter=()
    [ -z "$test_filter" ] || filter=(--filter "*$test_filter*")
    "$test_folder/tests/test-once" --verbose --jobs 1 --timeout 400 "${filter[@]}"
}

# One at a time: some act on the broker that all share.
run_broker() {
    local filter=()
    [ -z "$test_filter" ] || filter=(--filter "*$test_filter*")
    [ -x "$test_folder/tests/test-broker" ] || return 0
    "$test_folder/tests/test-broker" --verbose --jobs 1 --timeout 180 "${filter[@]}"
}

part_stores() {
    built stores build_normal tests/test-stores || return 0
    run_on_kafka stores run_stores
}

# They mostly wait, for sessions to end.
run_stores() {
    local filter=()
    [ -z "$test_filter" ] || filter=(--filter "*$test_filter*")
    [ -x "$test_folder/tests/test-stores" ] || return 0
    on_postgres "$test_folder/tests/test-stores" --verbose --jobs 3 --timeout 180 "${filter[@]}"
}
