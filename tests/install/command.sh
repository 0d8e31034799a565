# shellcheck shell=bash disable=SC2154
# The installed command: what it answers, that its man page names all it can do, and that the pages of docs/ which it
# writes are the committed ones. Sourced by run.sh, after the installation, with its
# names.

weir() { LD_LIBRARY_PATH=$libdir "$command" "$@"; }

# The outcome of one call: its status, and a pattern that standard output and error together must match.
answers() { # STATUS PATTERN ARGUMENT...
    local status=0 said
    said=$(weir "${@:3}" 2>&1 </dev/null) || status=$?
    [ "$status" -eq "$1" ] && grep -qE -- "$2" <<<"$said" && return
    printf 'weir %s: status %s, not %s with "%s":\n%s\n' "${*:3}" "$status" "$1" "$2" "$said"
    return 1
}

command_names() { weir --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'; }

# Long options of a command's --help.
option_names() { # COMMAND
    weir "$1" --help | sed -nE 's/^ +(-[A-Za-z], )?--([a-z-]+).*/\2/p'
}

help_of_every_command_names_it() {
    local name count=0
    for name in $(command_names); do
        [ "$name" = help ] || answers 0 "^Usage: weir $name" "$name" --help || return 1
        count=$((count + 1))
    done
    [ "$count" -ge 5 ]
}

man_page_names_every_command_and_option() {
    local page=$scratch/usr/local/share/man/man1/weir.1 name option count=0
    for name in $(command_names); do
        grep -qx ".Ss weir $name" "$page" || { echo "weir.1 has no part 'weir $name'"; return 1; }
        [ "$name" != help ] || continue
        for option in $(option_names "$name"); do
            count=$((count + 1))
            sed -n "/^\.Ss weir $name\$/,/^\.S[sh] /p; /^\.Sh DESCRIPTION/,/^\.Ss /p" "$page" |
                grep -E "^\.(It )?Fl (. , Fl )?-$option( |\$)" >/dev/null || {
                echo "weir.1 does not name --$option of weir $name"
                return 1
            }
        done
    done
    [ "$count" -ge 8 ]
}

man_page_names_no_more_commands_than_there_are() {
    local named
    named=$(sed -n 's/^\.Ss weir //p' "$scratch/usr/local/share/man/man1/weir.1" | sort)
    diff <(command_names | sort) <(echo "$named")
}

man_page_is_well_formed() {
    local said
    command -v groff >/dev/null || return 0
    said=$(groff -mandoc -ww -z -Tutf8 "$scratch/usr/local/share/man/man1/weir.1" 2>&1)
    [ -z "$said" ] || { echo "$said"; return 1; }
}

page_is_current() { # NAME
    weir docs "$1" | cmp -s - "$here/../../docs/$1.md" && return
    echo "docs/$1.md is stale: write it anew with: build/cli/weir docs $1 >docs/$1.md"
    return 1
}

# ---- a run against librdkafka's mock cluster; see mock.c ----

# Within the mock's life: exec, so that a signal to a background run reaches the command itself.
run() {
    exec env LD_LIBRARY_PATH="$libdir" "$command" run -X bootstrap.servers="$BOOTSTRAP" -X group.id=g \
        -X weir.topics=orders -X auto.offset.reset=earliest "$@" 2>"$scratch/run.log"
}

# The function's status; what the mock says of the group's commits goes to $scratch/committed.
on_mock() { # GROUP FUNCTION
    [ -x "$scratch/mock" ] || cc -Wall -Wextra -Werror "$here/mock.c" -o "$scratch/mock" -lrdkafka || return 1
    export -f run "${2?}"
    export libdir command scratch
    timeout 120 "$scratch/mock" "$1" bash -c "$2" >"$scratch/committed" && return
    echo "$2 on the mock: status $?; then, of the group: $(cat "$scratch/committed"); the log of the last program:"
    cat "$scratch/run.log"
    return 1
}

print_all() { (run --count 203 >"$scratch/printed"); }

# All messages, each once, a key's in order, and all committed; what a line cannot hold is escaped.
run_prints_every_message_once() {
    local printed=$scratch/printed line
    on_mock g print_all || return 1
    [ "$(wc -l <"$printed")" -eq 203 ] && [ "$(sort -u "$printed" | wc -l)" -eq 203 ] || return 1
    awk -F '\t' '$5 ~ /^k[0-9]$/ {
            order = substr($6, 7) + 0
            if ($5 in last && order <= last[$5]) exit 1
            last[$5] = order
        }' "$printed" || return 1
    for line in '\N	no key' 'gone	\N' 'odd	tab\there\nline\\slash\x01nul\x00.'; do
        grep -qF "	$line" "$printed" || { echo "no line with $line"; return 1; }
    done
    grep -qx 'committed 203' "$scratch/committed" || { cat "$scratch/committed"; return 1; }
}

print_one() {
    local status
    (run) | true # gone long before the first message
    status=${PIPESTATUS[0]}
    [ "$status" -eq 1 ]
}

# What nobody has read is not committed as handled.
run_ends_when_nobody_reads() {
    on_mock g print_one && grep -q 'standard output: Broken pipe' "$scratch/run.log" &&
        ! grep -qx 'committed 203' "$scratch/committed"
}

sleep_through() {
    (run -H sleep:1 -n 150 -s -X weir.stats.interval.ms=50 -X weir.workers=4 -X weir.log.level=error)
}

run_sleeps_and_prints_statistics() {
    on_mock g sleep_through && grep -qE '^[0-9]+ s: pulled [0-9]+/s, .* in all [0-9]+, ' "$scratch/run.log" &&
        ! grep 'level=info' "$scratch/run.log"
}

terminate() {
    (run -H discard -s -X weir.stats.interval.ms=50) &
    until grep -q pulled "$scratch/run.log" 2>/dev/null; do
        kill -0 $! || return 1
        sleep 0.1
    done
    kill -TERM $!
    wait $!
}

run_ends_in_order_on_a_signal() {
    rm -f "$scratch/run.log"
    on_mock g terminate
}

check_run() {
    check run_prints_every_message_once run_prints_every_message_once
    check run_ends_when_nobody_reads run_ends_when_nobody_reads
    check run_sleeps_and_prints_statistics run_sleeps_and_prints_statistics
    check run_ends_in_order_on_a_signal run_ends_in_order_on_a_signal
}

check_command() {
    local file=$scratch/weir.ini name
    check help_of_every_command_names_it help_of_every_command_names_it
    check man_page_names_every_command_and_option man_page_names_every_command_and_option
    check man_page_names_no_more_commands man_page_names_no_more_commands_than_there_are
    check man_page_is_well_formed man_page_is_well_formed
    for name in options errors; do
        check "docs_${name}_is_current" page_is_current "$name"
    done

    check version answers 0 "^weir $version \(librdkafka [0-9.]+\)$" --version
    check options_lists_options answers 0 '^    weir\.topics = ' options
    check no_command answers 2 "which command\?" # and where help is
    check unknown_command answers 2 "did you mean run\?" rnu
    check unknown_option answers 2 "did you mean --config\?" run --confg x
    check missing_value answers 2 "option --config needs a value" run --config
    check unknown_handler answers 2 "must be print, discard or sleep:MS" run -H jump
    check run_of_nothing answers 2 "what to consume\?" run
    check secret_stays_hidden answers 2 "sasl.pasword: .*did you mean sasl.password" run -X sasl.pasword=hunter2
    check secret_is_not_said no_hunter run -X sasl.pasword=hunter2
    check output_that_cannot_be_written full_output

    printf '[kafka]\nbootstrap.servers = 127.0.0.1:1\ngroup.id = g\n[weir]\ntopics = orders\n' >"$file"
    check right_file answers 0 "^right: group g, topics orders, [0-9]+ workers$" check "$file"
    check set_on_top_of_a_file answers 0 "topics payments" check -X weir.topics=payments "$file"
    check rule_between_options answers 1 "weir.retry.base.ms=60000" check "$file" -X weir.retry.base.ms=1m
    check rule_of_librdkafka answers 1 "max.poll.interval.ms" check "$file" -X max.poll.interval.ms=20000
    printf 'workers = many\n' >>"$file"
    check wrong_file answers 1 "$file:6: weir.workers=many" check "$file"
    check file_that_is_not_there answers 1 "No such file" check "$scratch/nothing.ini"
    check topics_missing answers 1 "weir.topics is not set" run -X group.id=g -X bootstrap.servers=127.0.0.1:1
}

no_hunter() {
    local said
    said=$(weir "$@" 2>&1)
    [ -n "$said" ] && [[ $said != *hunter2* ]]
}

full_output() {
    local said status=0
    said=$(weir options 2>&1 >/dev/full) || status=$?
    [ "$status" -eq 1 ] && grep -q "standard output: No space left" <<<"$said"
}
