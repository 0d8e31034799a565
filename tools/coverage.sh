# shellcheck shell=bash
# Which lines, branches and functions of runtime/ and actors/ the suites unit, sim and scenario reach. Sourced by ./dev.
#
#   build/coverage                   a build without optimization, that counts
#   build/coverage/report/index.html each file with its lines
#   build/coverage/report/missed.txt for each file the lines with a branch never taken, then functions never called
#
# Not counted: processes that die (tests of invariants), the branch of a WEIR_CHECK that fails, the simulated Kafka.

coverage_folder=$root/build/coverage
coverage_report=$coverage_folder/report

build_coverage() {
    build coverage "$coverage_folder" -Db_coverage=true -Doptimization=0 -Djemalloc=disabled \
        -Dc_args=-fprofile-update=atomic -- "$@"
}

# Lines or branches from what has been counted; the options say which report.
coverage_of() { # GCOVR_OPTIONS...
    (cd "$root" && gcovr "$coverage_folder" --root "$root" --object-directory "$coverage_folder" --filter runtime/ \
        --filter actors/ --exclude actors/kafka_fake/ --exclude-branches-by-pattern '.*WEIR_CHECK\(.*' \
        --gcov-ignore-parse-errors "$@")
}

# Of the library's objects, and of the copies of some that the suite sim has (tests/support/preempt.h). A function in a
# header counts as called when any file calls it; other projects' are left out.
coverage_uncalled() {
    local notes object
    for notes in "$coverage_folder"/libweir-{objects,preempted}.a.p/*.gcno; do
        object=$(basename "${notes%.c.gcno}")
        (cd "$coverage_folder" && gcov -f -n -o "${notes%/*}" "$notes" 2>/dev/null) |
            awk -v object="$(sed 's|_|/|; s|/\(librdkafka\|config\)_|/\1/|' <<<"$object")" '
                /^Function / { name = $2; gsub("\047", "", name); next }
                /^Lines executed:/ && name != "" { print object, name, ($0 !~ /^Lines executed:0.00%/) }
                { name = "" }'
    done | awk '
        $2 ~ /^ck_/ { next }
        { key = $2 ~ /^weir_/ ? $2 : $1 " " $2; where[key] = $1 " " $2; called[key] += $3 }
        END { for (key in called) if (!called[key]) print where[key] }' | sort
}

# The table: percent of lines, percent of branches, lines and branches missed.
coverage_table() {
    coverage_of --csv | awk -F, '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        {
            lines = $column["line_total"]; branches = $column["branch_total"]
            lines_hit = $column["line_covered"]; branches_hit = $column["branch_covered"]
            printf "%-36s %6.1f %6.1f %7d %7d\n", $column["filename"], lines ? 100 * lines_hit / lines : 100,
                branches ? 100 * branches_hit / branches : 100, lines - lines_hit, branches - branches_hit
            all_lines += lines; all_branches += branches; hit_lines += lines_hit; hit_branches += branches_hit
        }
        END {
            if (!all_lines || !all_branches) exit 1
            printf "%-36s %6.1f %6.1f %7d %7d\n", "all", 100 * hit_lines / all_lines,
                100 * hit_branches / all_branches, all_lines - hit_lines, all_branches - hit_branches
        }'
}

coverage_main() {
    local suite
    [ $# -eq 0 ] || die "coverage: takes no arguments"
    need_packages build test coverage
    build_coverage tests/plain-unit tests/plain-sim tests/plain-scenario || exit 1
    find "$coverage_folder" -name '*.gcda' -delete
    rm -rf "$coverage_report" && mkdir -p "$coverage_report"
    for suite in unit sim scenario; do
        say "[$(elapsed)] counting $suite"
        WEIR_TEST_SCALE=${WEIR_TEST_SCALE:-25} WEIR_TEST_TIMEOUT_S=240 \
            quietly "coverage-$suite" run_plain "$coverage_folder" "$suite" || say "$suite has failed tests: it counts less"
    done
    say "[$(elapsed)] reporting"
    quietly coverage-html coverage_of --html-details "$coverage_report/index.html" || exit 1
    {
        coverage_of --txt --branches 2>/dev/null || exit 1
        echo "Functions never called"
        coverage_uncalled
    } >"$coverage_report/missed.txt"
    printf '%-36s %6s %6s %7s %7s\n' file lines% branch% 'lines-' 'branch-'
    coverage_table 2>/dev/null || die "nothing was counted"
    printf '\n%s\n%s\n' "$coverage_report/index.html" "$coverage_report/missed.txt"
}
