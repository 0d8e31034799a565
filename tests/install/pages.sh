# shellcheck shell=bash disable=SC2154
# The programs in the pages of docs/, as they stand there: each block ```c of these pages is a whole program. Sourced by
# run.sh, after the installation, with its names; needs command.sh for the mock.
#
# What a program includes says what it is: a test on the kit is run and must end with 0; a consumer is run on the mock,
# with the page's block ```ini as its configuration, until it has printed what the mock's messages make it print.

page_blocks() { # PAGE LANGUAGE: each into a file of its own, in the order of the page
    rm -f "$scratch/page-"*."$2"
    awk -v base="$scratch/page-" -v language="$2" '
        $0 == "```" language { file = sprintf("%s%02d.%s", base, ++number, language); next }
        /^```$/ { file = ""; next }
        file != "" { print > file }' "$here/../../docs/$1.md"
}

page_build() { # PROGRAM PACKAGE...
    local program=$1 flags
    shift
    read -ra flags <<<"$(pkg-config --define-variable=prefix="$scratch/usr/local" --cflags --libs "$@")"
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$program" -o "$scratch/program" "${flags[@]}"
}

# Within the mock's life: until all of its 203 messages have been printed, at most half a minute.
serve_page() {
    local count=0
    sed "s/localhost:9092/$BOOTSTRAP/" "$scratch/page-01.ini" >"$scratch/page.conf"
    rm -f "$scratch/page.db"
    : >"$scratch/printed" # here, not only in the child: until it runs, what the last program has printed would count
    LD_LIBRARY_PATH=$libdir stdbuf -oL "$scratch/program" "$scratch/page.conf" ${page_arguments:+"$page_arguments"} \
        >"$scratch/printed" 2>"$scratch/run.log" &
    while [ "$(wc -l <"$scratch/printed")" -lt "$page_lines" ] && [ $((count++)) -lt 300 ]; do
        kill -0 $! || return 1
        sleep 0.1
    done
    kill -TERM $!
    wait $!
}

page_served() { # LINES [ARGUMENT]: of output, and of the program, after its configuration
    page_lines=$1 page_arguments=${2:-} on_mock billing serve_page && grep -qx 'committed 203' "$scratch/committed" &&
        [ "$(wc -l <"$scratch/printed")" -eq "$1" ]
}

page_program() { # PROGRAM
    case $(grep '^#include <weir/' "$1") in
    *testkit.h*) page_build "$1" weir-testkit && LD_LIBRARY_PATH=$libdir "$scratch/program" >/dev/null ;;
    *sqlite.h*)
        [ -e "$libdir/libweir-sqlite.so" ] || return 0
        page_build "$1" weir-sqlite weir sqlite3 && page_served 203 "$scratch/page.db"
        ;;
    *) page_build "$1" weir && page_served 204 ;; # one value has two lines
    esac
}

check_page() { # NAME LEAST
    local program count=0
    page_blocks "$1" c
    page_blocks "$1" ini
    for program in "$scratch"/page-*.c; do
        count=$((count + 1))
        check "${1}_page_program_$count" page_program "$program"
    done
    check "${1}_page_has_programs" [ "$count" -ge "$2" ]
}

check_pages() {
    check_page testing 2
    check_page guide 12
}
