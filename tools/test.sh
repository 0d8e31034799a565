# shellcheck shell=bash
# The test suites, and what came of them. Sourced by ./dev.
#
# Totals are taken from what each runner says at its end; a suite that ran nothing, or ended badly without naming a
# failed test, counts as one failure.

test_suites_all=(unit scenario sim seeds install examples asan tsan valgrind mutants fuzz broker)
test_suites_of_librdkafka=(unit scenario sim broker chaos) # which another librdkafka can be tried with
test_filter=
test_build=build_normal test_folder=$root/build test_prefix= # where the suites' programs come from; begins their names
test_names=() test_passed=() test_failed=() test_seconds=()
test_group= # of the suite that runs
test_kafka= # name of the cluster that this run has started

# On any exit: end what runs, in whole, and Kafka.
test_cleanup() {
    if [ -n "$test_group" ] && kill -s TERM -- "-$test_group" 2>/dev/null; then
        sleep 0.5 # the plain runner ends its tests; Criterion takes no notice
        kill -s KILL -- "-$test_group" 2>/dev/null || true
    fi
    [ -z "$test_kafka" ] || "$root/dev" kafka --name "$test_kafka" stop
}

# "PASSED FAILED" from a runner's output: the plain runner's last line, meson's summary, or Criterion's synthesis; where
# Criterion was ended before it, what it had said of each test.
totals_in() { # LOG
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        /^[0-9]+ passed, [0-9]+ failed$/ { passed = $1; failed = $3 }
        $1 == "[PASS]" { passed++ }
        $1 == "[FAIL]" { failed++ }
        /Synthesis: Tested:/ { gsub(/[^0-9 ]/, ""); passed = $2; failed = $1 - $2 }
        /^(Ok|Expected Fail|Fail|Unexpected Pass|Timeout): +[0-9]+ *$/ {
            if ($1 == "Ok:") passed = $NF; else if ($1 != "Expected") failed += $NF
        }
        END { print passed + 0, failed + 0 }'
}

# Run one suite, in a process group of its own, and keep its totals. Never fails: test_summary() does.
run_suite() { # NAME COMMAND...
    local name=$1 log=$logs/test-${1//\//-}.log status=0 begin=$SECONDS passed failed
    shift
    mkdir -p "$logs"
    say "[$(elapsed)] running $name"
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    test_group=$!
    set +m
    await_suite "$name" "$log"
    wait "$test_group" || status=$?
    test_group=
    read -r passed failed <<<"$(totals_in "$log")"
    if [ -n "$test_filter" ] && [ "$status" -le 1 ] && [ $((passed + failed)) -eq 0 ]; then
        : # none of its tests was asked for
    elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        echo "dev: $name ended with status $status" >>"$log"
        failed=1
    elif [ $((passed + failed)) -eq 0 ]; then
        echo "dev: $name has run no test" >>"$log"
        failed=1
    fi
    keep_totals "$name" "$passed" "$failed" $((SECONDS - begin))
    [ "$failed" -eq 0 ] || show_failure "$name" "$log"
}

# Until the suite has ended; one that hangs is ended here, for Criterion's own limit counts processor time only.
await_suite() { # NAME LOG
    local limit=${WEIR_TEST_SUITE_TIMEOUT_S:-600} begin=$SECONDS said=0
    while kill -0 "$test_group" 2>/dev/null; do
        if [ $((SECONDS - begin)) -ge "$limit" ]; then
            kill -s KILL -- "-$test_group"
            echo "dev: $1 took longer than WEIR_TEST_SUITE_TIMEOUT_S=$limit; unfinished: $(unfinished_in "$2")" >>"$2"
            return
        fi
        if [ $(((SECONDS - begin) / 60)) -gt $said ]; then
            said=$(((SECONDS - begin) / 60))
            say "[$(elapsed)] ... $1"
        fi
        sleep 0.1
    done
}

# Tests that Criterion has begun and not ended.
unfinished_in() { # LOG
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        $1 == "[RUN" { running[$3] = 1 }
        $1 == "[PASS]" || $1 == "[FAIL]" || $1 == "[SKIP]" { sub(/:$/, "", $2); delete running[$2] }
        END { for (name in running) printf "%s ", name }'
}

keep_totals() { # NAME PASSED FAILED SECONDS
    test_names+=("$1") test_passed+=("$2") test_failed+=("$3") test_seconds+=("$4")
    say "[$(elapsed)] $1: $2 passed, $3 failed"
}

failure_lines='^\[(----|FAIL|!!!!)\]|^FAILED |: failed: |Sanitizer:|runtime error:|^==[0-9]+== '

# What the log says of failures, wherever it says it, then its end.
show_failure() { # NAME LOG
    say "---- failures in $2 ----"
    sed 's/\x1b\[[0-9;]*m//g' "$2" | grep -E "$failure_lines" | head -n 80 >&2 || true
    say "---- the end of $2 ----"
    tail -n 40 "$2" >&2
    say "---- $1 failed ----"
}

# A part that could not be built is one failure of that name.
built() { # NAME BUILD_FUNCTION [SUITE...]
    local name=$1 function=$2 targets
    shift 2
    mapfile -t targets < <(test_programs "$@")
    "$function" "${targets[@]}" && return
    keep_totals "$name" 0 1 0
    return 1
}

# Scenarios mostly wait: for librdkafka, for a mock cluster's rebalances.
jobs_of() { # SUITE
    if [ "$1" = scenario ]; then echo 4; else echo 2; fi
}

# A suite's executable; without sources there is none, which run_suite reports as a suite without tests.
run_criterion() { # SUITE
    local filter=()
    [ -z "$test_filter" ] || filter=(--filter "*$test_filter*")
    [ -x "$test_folder/tests/test-$1" ] || return 0
    "$test_folder/tests/test-$1" --verbose --jobs "$(jobs_of "$1")" --timeout "${WEIR_TEST_TIMEOUT_S:-120}" "${filter[@]}"
}

# The same under a sanitizer or valgrind, which is what the prefix is for.
run_plain() { # DIRECTORY SUITE [PREFIX...]
    local program=$root/build/$1/tests/test-$2 jobs
    jobs=$(jobs_of "$2")
    shift 2
    [ -x "$program" ] || return 0
    "$@" "$program" --jobs "$jobs" "$test_filter"
}

suite_of_normal_build() { # SUITE
    built "$test_prefix$1" "$test_build" "$1" || return 0
    run_suite "$test_prefix$1" run_criterion "$1"
}

# The simulated consumer under tens of thousands of seeds: about a minute.
suite_seeds() {
    built seeds build_normal sim || return 0
    local -x WEIR_TEST_SCALE=${WEIR_TEST_SEEDS_PERCENT:-2000} WEIR_TEST_TIMEOUT_S=480
    local test_filter=${test_filter:-consumer/}
    run_suite seeds run_criterion sim
}

suite_install() {
    built install build_normal || return 0
    run_suite install "$root/tests/install/run.sh" "$root/build"
}

suite_examples() {
    built examples build_normal || return 0
    run_suite examples meson test -C "$root/build" --no-rebuild --suite examples --print-errorlogs --num-processes 2
}

suite_asan() {
    local suite
    local -x WEIR_TEST_SCALE=50 WEIR_TEST_TIMEOUT_S=240
    local -x ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    local -x UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    built asan build_asan unit scenario sim || return 0
    for suite in unit scenario sim; do
        run_suite "asan/$suite" run_plain asan "$suite"
    done
}

suite_tsan() {
    local suite fixed=()
    local -x WEIR_TEST_SCALE=25 WEIR_TEST_TIMEOUT_S=240
    local -x TSAN_OPTIONS=suppressions=$root/tests/support/tsan.supp:second_deadlock_stack=1:history_size=4
    built tsan build_tsan unit scenario sim || return 0
    # ThreadSanitizer of gcc 12 cannot run where the kernel spreads addresses over more than 28 bits.
    setarch -R true 2>/dev/null && fixed=(setarch -R)
    for suite in unit scenario sim; do
        run_suite "tsan/$suite" run_plain tsan "$suite" "${fixed[@]}"
    done
}

# Uninitialised and freed memory. Leaks are looked for in the unit suite only: simulated processes that crash leave
# theirs behind, which only AddressSanitizer can be told. Of scenarios only memory is judged: at valgrind's pace
# librdkafka's mock cluster now and then does not answer a JoinGroup at all, and a test waits in vain.
suite_valgrind() {
    local valgrind=(valgrind -q --error-exitcode=9 --fair-sched=yes)
    local leaks=(--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)
    built valgrind build_valgrind unit scenario sim || return 0
    local -x WEIR_TEST_SCALE=5 WEIR_TEST_TIMEOUT_S=480
    run_suite valgrind/unit run_plain valgrind unit "${valgrind[@]}" "${leaks[@]}"
    run_suite valgrind/sim run_plain valgrind sim "${valgrind[@]}" --leak-check=no
    local -x WEIR_TEST_MEMORY_STATUS=9 WEIR_TEST_TIMEOUT_S=150
    run_suite valgrind/scenario run_plain valgrind scenario "${valgrind[@]}" --leak-check=no
}

# Each parser on bytes made up from its corpus, for a few seconds; one that finds nothing to complain of has passed.
suite_fuzz() {
    local fuzzers
    mapfile -t fuzzers < <(cd "$root" && compgen -G 'tests/fuzz/*.c' | sed 's|.*/\(.*\)\.c$|tests/fuzz-\1|')
    if [ ${#fuzzers[@]} -eq 0 ]; then
        run_suite fuzz true
    elif build_fuzz "${fuzzers[@]}"; then
        run_suite fuzz run_fuzzers "${fuzzers[@]}"
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

# A suite that needs a real Kafka, which is started and stopped for it.
run_on_kafka() { # NAME COMMAND...
    local name=$1
    say "[$(elapsed)] starting Kafka"
    test_kafka=test-$$
    if ! WEIR_TEST_BOOTSTRAP=$("$root/dev" kafka --name "$test_kafka" start --owner $$); then
        keep_totals "$name" 0 1 0
        return
    fi
    export WEIR_TEST_BOOTSTRAP WEIR_TEST_KAFKA="$root/dev kafka"
    export WEIR_TEST_KAFKA_CONTROL="$WEIR_TEST_KAFKA --name $test_kafka"
    run_suite "$@"
    "$root/dev" kafka --name "$test_kafka" stop
    test_kafka=
}

suite_broker() {
    built "${test_prefix}broker" "$test_build" broker || return 0
    run_on_kafka "${test_prefix}broker" run_broker
}

# One at a time: some act on the broker that all share.
run_broker() {
    local filter=()
    [ -z "$test_filter" ] || filter=(--filter "*$test_filter*")
    [ -x "$test_folder/tests/test-broker" ] || return 0
    "$test_folder/tests/test-broker" --verbose --jobs 1 --timeout 180 "${filter[@]}"
}

test_summary() {
    local i passed=0 failed=0
    printf '\n%-18s %8s %8s %8s\n' suite passed failed seconds
    for i in "${!test_names[@]}"; do
        printf '%-18s %8d %8d %8d\n' "${test_names[i]}" "${test_passed[i]}" "${test_failed[i]}" "${test_seconds[i]}"
        passed=$((passed + test_passed[i])) failed=$((failed + test_failed[i]))
    done
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    echo "$passed $failed" >"$logs/test.total"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# The suites that follow run with the newest librdkafka.
use_new_librdkafka() { # SUITE...
    local suite
    for suite; do
        [[ " ${test_suites_of_librdkafka[*]} " == *" $suite "* ]] ||
            die "test: --librdkafka new goes with ${test_suites_of_librdkafka[*]}, not with $suite"
    done
    need_librdkafka
    test_build=build_librdkafka_new test_folder=$root/build/librdkafka-new test_prefix=new/
    export WEIR_TEST_LIBRDKAFKA=$librdkafka_version
}

test_main() {
    local suite suites=() librdkafka=
    while [ $# -gt 0 ]; do
        case $1 in
        --filter) test_filter=${2:?--filter needs a part of a test\'s name} && shift ;;
        --librdkafka)
            librdkafka=${2:-} && shift
            [ "$librdkafka" = new ] || die "test: --librdkafka '$librdkafka': there is only new; without it, Debian's"
            ;;
        --minutes | --scenario | --seed) chaos_option "$1" "${2:-}" && shift ;;
        --report) chaos_options+=(--report "$root/docs/chaos.md") ;;
        unit | scenario | sim | seeds | install | examples | asan | tsan | valgrind | mutants | fuzz | broker | chaos) suites+=("$1") ;;
        *) die "test: unknown suite '$1'; there are: ${test_suites_all[*]} ${test_suites_apart[*]}" ;;
        esac
        shift
    done
    if [ ${#suites[@]} -eq 0 ]; then
        suites=("${test_suites_all[@]}")
        [ -z "$librdkafka" ] || suites=(scenario broker chaos)
    fi
    need_packages build test
    [ -z "$librdkafka" ] || use_new_librdkafka "${suites[@]}"
    trap test_cleanup EXIT
    for suite in "${suites[@]}"; do
        case $suite in
        unit | scenario | sim) suite_of_normal_build "$suite" ;;
        *) "suite_$suite" ;;
        esac
    done
    test_summary
}
