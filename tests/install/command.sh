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
                grep -qE "^\.(It )?Fl (. , Fl )?-$option( |\$)" || {
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

no_hunter() { ! weir "$@" 2>&1 | grep -q hunter2; }

full_output() {
    local said status=0
    said=$(weir options 2>&1 >/dev/full) || status=$?
    [ "$status" -eq 1 ] && grep -q "standard output: No space left" <<<"$said"
}
