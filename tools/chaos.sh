# shellcheck shell=bash
# The chaos suite: processes and brokers are killed, stopped and moved about, and what came of it is judged. Sourced by
# ./dev, after tools/test.sh, whose functions it uses.
#
#   ./dev test chaos                          every scenario once, in its short form
#   ./dev test chaos --minutes N              long forms, with new seeds, until the time is up
#   --scenario NAME  --seed N  --report       some of them; their choices; the table of docs/chaos.md written anew

chaos_options=()
chaos_minutes=0

# Take one option of the suite that has a value, for test_main().
chaos_option() { # OPTION VALUE
    case $1 in
    --scenario) [ -n "${2:-}" ] || die "test: --scenario needs a name; build/tests/test-chaos --list has them" ;;
    *) [[ ${2:-} =~ ^[0-9]+$ ]] || die "test: $1 needs a number" ;;
    esac
    [ "$1" != --minutes ] || chaos_minutes=$2
    chaos_options+=("$1" "$2")
}

# Its progress goes to descriptor 9, past the log.
run_chaos() {
    "$test_folder/tests/test-chaos" --progress 9 "${chaos_options[@]}"
}

part_chaos() {
    local -x WEIR_TEST_SUITE_TIMEOUT_S=$((60 * chaos_minutes + 1800))
    local name=${test_prefix}chaos
    built "$name" "$test_build" tests/test-chaos || return 0
    run_on_kafka "$name" run_chaos 9>&2
    grep '^{' "$logs/test-${name//\//-}.log" || true
}
