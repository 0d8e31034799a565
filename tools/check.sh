# shellcheck shell=bash
# What is not a test: format, lint, generated pages. Sourced by ./dev.

check_passed=0 check_failed=0

# Files of the project, tracked or about to be. The clone may belong to somebody else, as in a container.
project_files() { # PATTERN...
    local file
    git -c safe.directory="$root" -C "$root" ls-files -co --exclude-standard -- "$@" | sort -u |
        while read -r file; do
            [ ! -f "$root/$file" ] || printf '%s\n' "$file"
        done
}

run_check() { # NAME COMMAND...
    local name=$1 begin=$SECONDS
    shift
    if quietly "check-$name" "$@"; then
        check_passed=$((check_passed + 1))
        say "[$(elapsed)] $name: in order ($((SECONDS - begin)) s)"
    else
        check_failed=$((check_failed + 1))
        say "[$(elapsed)] $name: FAILED"
    fi
}

check_format() {
    cd "$root" && project_files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror
}

# Meson's commands know a file as often as there are libraries with it, each by other options; one is enough here.
tidy_commands() {
    python3 -c 'import json, sys
commands = json.load(sys.stdin)
json.dump(list({c["file"]: c for c in commands if "libweir-preempted" not in c["output"]}.values()), sys.stdout)'
}

check_tidy() {
    mkdir -p "$root/build/tidy"
    tidy_commands <"$root/build/compile_commands.json" >"$root/build/tidy/compile_commands.json" || return
    cd "$root" && project_files 'runtime/*.c' 'actors/*.c' 'testkit/*.c' 'stores/*.c' 'cli/*.c' 'examples/*.c' |
        xargs -r -n 1 -P 2 clang-tidy --quiet -p "$root/build/tidy" --warnings-as-errors='*'
}

check_shell() {
    cd "$root" && shellcheck -x -a dev && project_files '.ci/run' 'tests/*.sh' | xargs -r shellcheck -x
}

# Every page that `weir docs` can write must be what it writes.
check_pages() {
    local weir=$root/build/cli/weir page count=0 stale=0
    [ -x "$weir" ] || return 1
    for page in $(cd "$root/docs" && ls ./*.md); do
        page=$(basename "$page" .md)
        "$weir" docs "$page" >"$logs/page.md" 2>/dev/null || continue
        count=$((count + 1))
        diff -u "$root/docs/$page.md" "$logs/page.md" || stale=$((stale + 1))
    done
    echo "$count generated pages, $stale stale (./dev fmt writes them)"
    [ $count -gt 0 ] && [ $stale -eq 0 ]
}

check_marks() {
    ! (cd "$root" && project_files '*' ':!tools/check.sh' | xargs -r grep -nE '\b(TODO|FIXME|XXX|HACK)\b')
}

# Each header compiles alone and twice; the public ones also as C++.
check_headers() {
    local header failed=0
    cd "$root" || return 1
    for header in $(project_files 'include/*.h' 'runtime/*.h' 'actors/*.h' 'testkit/*.h' 'stores/*.h' 'cli/*.h' 'tests/*.h'); do
        printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
            cc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -I. -Iinclude -x c - || failed=1
    done
    for header in $(project_files 'include/*.h'); do
        printf '#include "%s"\n' "$header" |
            c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I. -Iinclude -x c++ - || failed=1
    done
    return $failed
}

# Documents name only suites that there are, and test names are words, each used once.
check_names() {
    local named unknown=0 bad twice
    cd "$root" || return 1
    for named in $(project_files '*.md' | xargs -r grep -hoE '\./dev test [a-z][a-z-]*' | sed 's/.* //' | sort -u); do
        [[ " ${test_suites_all[*]} ${test_suites_apart[*]} " == *" $named "* ]] || { echo "no such suite: $named" && unknown=1; }
    done
    bad=$(project_files 'tests/*.c' | xargs -r grep -nE '^(Parameterized)?Test\(' |
        grep -vE ':Test\([a-z0-9_]+, [a-z0-9_]+(, [.].*)?\)$' || true)
    twice=$(project_files 'tests/*.c' | xargs -r grep -hoE '^Test\([a-z0-9_]+, [a-z0-9_]+' | sort | uniq -d)
    printf '%s\n' "$bad" "$twice"
    [ $unknown -eq 0 ] && [ -z "$bad$twice" ]
}

check_main() {
    need_packages build test check
    [ -n "$(project_files 'runtime/*.c')" ] || die "check needs a git clone"
    mkdir -p "$logs"
    run_check format check_format
    run_check shell check_shell
    run_check headers check_headers
    run_check names check_names
    run_check marks check_marks
    run_check reference build_reference
    run_check build build_normal
    run_check pages check_pages
    run_check tidy check_tidy
    printf 'check: %d in order, %d failed\n' $check_passed $check_failed
    echo "$check_passed $check_failed" >"$logs/check.total"
    [ $check_failed -eq 0 ]
}

# Bring sources into form, and write the generated pages anew.
fmt_main() {
    local page text
    need_packages build check
    (cd "$root" && project_files '*.c' '*.h' | xargs -r clang-format -i)
    build_normal || die "the generated pages need a build"
    for page in options errors metrics; do
        if text=$("$root/build/cli/weir" docs "$page" 2>/dev/null); then
            printf '%s\n' "$text" >"$root/docs/$page.md"
        fi
    done
}
