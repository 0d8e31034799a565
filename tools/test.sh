# shellcheck shell=bash
# The tests: what is run in which lane, and what came of it. Sourced by ./dev; the suites are in tools/suites.sh.
#
# A suite is run in parts: `asan` is asan/unit, asan/scenario and asan/sim. Three lanes run side by side, a shell each, one
# part at a time: scenarios, which mostly wait; parts with a real Kafka, before which programs as users have them and the
# fuzzers are run, as there is time; and parts that compute, which give way.
#
# Totals are taken from what each runner says at its end; a part that ran nothing, or ended badly without naming a
# failed test, counts as one failure. They are kept in build/logs/test.totals, a line a part.

test_filter=
test_build=build_normal test_folder=$root/build test_prefix= # where the suites' programs come from; begins their names
test_group=  # of the part that runs in this shell
test_kafka=  # name of the cluster that this shell has started
test_lanes=() # the shells of the lanes

# On any exit of the whole: end the lanes.
end_lanes() {
    local lane
    for lane in "${test_lanes[@]}"; do
        kill -s TERM -- "-$lane" 2>/dev/null || true
    done
    [ ${#test_lanes[@]} -eq 0 ] || wait "${test_lanes[@]}" || true
}

# Criterion leaves the process group that it is started in.
descendants_of() { # PID
    local pid pids
    read -r -d '' -a pids < <(cat "/proc/$1"/task/*/children 2>/dev/null) || true
    for pid in "${pids[@]}"; do
        descendants_of "$pid"
        echo "$pid"
    done
}

# On any exit of a shell that runs parts: end what runs, in whole, and Kafka.
end_part() {
    local pids=()
    if [ -n "$test_group" ]; then
        mapfile -t pids < <(descendants_of "$test_group")
        kill -s TERM -- "-$test_group" "${pids[@]}" 2>/dev/null || true
        sleep 0.5 # the plain runner ends its tests
        kill -s KILL -- "-$test_group" "${pids[@]}" 2>/dev/null || true
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

# Run one part, in a process group of its own, and keep its totals. Never fails: test_summary() does.
run_part() { # NAME COMMAND...
    local name=$1 log=$logs/test-${1//\//-}.log status=0 begin=$SECONDS passed failed
    shift
    mkdir -p "$logs"
    say "[$(elapsed)] running $name"
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    test_group=$!
    set +m
    await_part "$name" "$log"
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
    show_skipped "$log"
    [ "$failed" -eq 0 ] || show_failure "$name" "$log"
}

# Until the part has ended; one that hangs is ended here, for Criterion's own limit counts processor time only.
await_part() { # NAME LOG
    local limit=${WEIR_TEST_SUITE_TIMEOUT_S:-900} begin=$SECONDS said=0
    while kill -0 "$test_group" 2>/dev/null; do
        if [ $((SECONDS - begin)) -ge "$limit" ]; then
            # shellcheck disable=SC2046 # numbers
            kill -s KILL -- "-$test_group" $(descendants_of "$test_group") 2>/dev/null || true
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
    echo "$*" >>"$logs/test.totals"
    say "[$(elapsed)] $1: $2 passed, $3 failed"
}

# What a test could not show on this machine, with its reason.
show_skipped() { # LOG
    sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -E '^(\[SKIP\]|skipped [^ ]+/)' | grep -v ': Test is disabled' >&2 || true
}

failure_lines='^\[(----|FAIL|!!!!)\]|^FAILED |: failed: |Sanitizer:|runtime error:|^==[0-9]+== '

# What the log says of failures, wherever it says it, then its end.
show_failure() { # NAME LOG
    {
        echo "---- failures in $2 ----"
        sed 's/\x1b\[[0-9;]*m//g' "$2" | grep -E "$failure_lines" | head -n 80 || true
        echo "---- the end of $2 ----"
        tail -n 40 "$2"
        echo "---- $1 failed ----"
    } >&2
}

# A part that could not be built is one failure of that name.
built() { # NAME BUILD_FUNCTION [TARGET...]
    local name=$1 function=$2
    shift 2
    "$function" "$@" && return
    keep_totals "$name" 0 1 0
    return 1
}

# A part that needs a real Kafka, which is started and stopped for it.
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
    run_part "$@"
    "$root/dev" kafka --name "$test_kafka" stop
    test_kafka=
}

# In the order in which they were asked for.
test_summary() { # PART...
    local part name passed failed seconds sum_passed=0 sum_failed=0
    printf '\n%-18s %8s %8s %8s\n' suite passed failed seconds
    for part; do
        while read -r name passed failed seconds; do
            [ "$name" = "$test_prefix$part" ] || continue
            printf '%-18s %8d %8d %8d\n' "$name" "$passed" "$failed" "$seconds"
            sum_passed=$((sum_passed + passed)) sum_failed=$((sum_failed + failed))
            continue 2
        done <"$logs/test.totals"
        printf '%-18s %8s\n' "$part" 'did not end'
        sum_failed=$((sum_failed + 1))
    done
    printf '\nafter %s\n%d passed, %d failed\n' "$(elapsed)" "$sum_passed" "$sum_failed"
    echo "$sum_passed $sum_failed" >"$logs/test.total"
    [ "$sum_failed" -eq 0 ] && [ "$sum_passed" -gt 0 ]
}

run_parts() { # PART...
    local part
    for part; do
        "part_${part%%/*}" "$part"
    done
}

# A lane of its own, in a process group of its own. Its number is appended to test_lanes.
start_lane() { # NICENESS PART...
    local niceness=$1
    shift
    set -m
    (
        set +m
        trap 'exit 143' TERM
        trap end_part EXIT
        renice -n "$niceness" -p "$BASHPID" >/dev/null 2>&1 || true
        run_parts "$@"
    ) </dev/null &
    test_lanes+=($!)
    set +m
}

run_lanes() { # PART...
    local part lane lanes=() waits=() broker=() computes=()
    for part; do
        lane=$(lane_of "$part")
        case $lane in
        waits) waits+=("$part") ;;
        broker) broker+=("$part") ;;
        *) computes+=("$part") ;;
        esac
        [[ " ${lanes[*]} " == *" $lane "* ]] || lanes+=("$lane")
    done
    if [ ${#lanes[@]} -le 1 ]; then
        run_parts "$@"
        return
    fi
    build_normal || true # before all want it; a part whose program is missing says so
    [ ${#waits[@]} -eq 0 ] || start_lane 0 "${waits[@]}"
    [ ${#broker[@]} -eq 0 ] || start_lane 0 "${broker[@]}"
    [ ${#computes[@]} -eq 0 ] || start_lane 10 "${computes[@]}"
    for lane in "${test_lanes[@]}"; do
        wait "$lane" || true
    done
    test_lanes=()
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

is_suite() { # NAME
    [[ " ${test_suites_all[*]} ${test_suites_apart[*]} " == *" $1 "* ]]
}

test_main() {
    local suite suites=() parts=() librdkafka=
    while [ $# -gt 0 ]; do
        case $1 in
        --filter) test_filter=${2:?--filter needs a part of a test\'s name} && shift ;;
        --librdkafka)
            librdkafka=${2:-} && shift
            [ "$librdkafka" = new ] || die "test: --librdkafka '$librdkafka': there is only new; without it, Debian's"
            ;;
        --minutes | --scenario | --seed) chaos_option "$1" "${2:-}" && shift ;;
        --report) chaos_options+=(--report "$root/docs/chaos.md") ;;
        *)
            is_suite "$1" || die "test: unknown suite '$1'; there are: ${test_suites_all[*]} ${test_suites_apart[*]}"
            suites+=("$1")
            ;;
        esac
        shift
    done
    if [ ${#suites[@]} -eq 0 ]; then
        suites=("${test_suites_all[@]}")
        [ -z "$librdkafka" ] || suites=(scenario broker chaos)
    fi
    need_packages build test
    [ -z "$librdkafka" ] || use_new_librdkafka "${suites[@]}"
    for suite in "${suites[@]}"; do
        mapfile -t -O ${#parts[@]} parts < <(parts_of "$suite")
    done
    mkdir -p "$logs"
    : >"$logs/test.totals"
    trap 'end_lanes; end_part' EXIT
    run_lanes "${parts[@]}"
    test_summary "${parts[@]}"
}
