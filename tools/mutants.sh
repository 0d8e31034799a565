# shellcheck shell=bash
# Do the tests bite? Each patch of tests/mutants breaks the code in one way, and some test must notice. Sourced by ./dev.
#
# A patch begins with a sentence that says what it breaks. A second line, `Test: SUITE PATTERN`, names who is to notice,
# and may come again; without it, or where those pass, the whole sim suite is run. It is applied to a copy of the sources
# in which only the file that changes is compiled again.
#
# Compiling one file and running one test take one processor, so there is a lane for each of them, with a copy of its own
# in build/mutants/LANE: the sources in tree, what is built of them in build.
#
# A mutant is caught by a failed test, a crash, or a test that does not end: in processor time, so that a busy machine
# catches none. It counts as not caught if nothing of the kind happens, and also if its patch no longer applies or what
# it makes does not compile. All that stands for nothing where the tests fail without any patch, so that is tried first.

mutants_folder=$root/build/mutants
mutants_lane=$mutants_folder/1 # where this shell tries them
mutants_lanes_max=4
mutants_processor_s_max=20 # of a test; most take less than 1

# The copy is made to match file by file, so that what is as it was is not compiled again.
mutants_copy() {
    local parts=(meson.build meson_options.txt include runtime actors testkit stores cli examples tests bench) file
    mkdir -p "$mutants_lane/tree"
    while IFS= read -r file; do
        cmp -s "$root/$file" "$mutants_lane/tree/$file" && continue
        mkdir -p "$(dirname "$mutants_lane/tree/$file")"
        cp "$root/$file" "$mutants_lane/tree/$file"
    done < <(cd "$root" && find "${parts[@]}" -type f)
    while IFS= read -r file; do
        [ -e "$root/$file" ] || rm "$mutants_lane/tree/$file"
    done < <(cd "$mutants_lane/tree" && find . -type f)
}

# Little optimization compiles fast, and still runs a suite in seconds. A mutant may leave something unused.
build_mutants() {
    mutants_copy || return 1
    local root=$mutants_lane/tree
    build mutants "$mutants_lane/build" -Djemalloc=disabled -Doptimization=1 -Ddebug=false \
        -Dwerror=false -Dcurl=disabled -- "$@"
}

mutants_tests_of() { # PATCH
    sed -n '/^--- /q; s/^Test: //p' "$1"
}

mutants_run() ( # SUITE [PATTERN]
    ulimit -t "$mutants_processor_s_max"
    "$mutants_lane/build/tests/plain-$1" --jobs 2 "${2:-}"
)

# Says who has noticed, and how, from a runner's output: nothing for a failed test, else how it ended.
mutants_noticed() { # LOG
    local names
    mapfile -t names < <(sed -nE -e 's/^FAILED ([^ ]+) \([0-9.]+ s, status [0-9]+\)$/\1/p' \
        -e 's/^FAILED ([^ ]+) \([0-9.]+ s, killed: .*/\1 (hangs)/p' \
        -e 's/^FAILED ([^ ]+) \([0-9.]+ s, signal 24: .*/\1 (hangs)/p; t' \
        -e 's/^FAILED ([^ ]+) \([0-9.]+ s, signal [0-9]+: (.*)\)$/\1 (\2)/p' "$1")
    [ ${#names[@]} -eq 0 ] || printf '%s' "${names[0]}"
    [ ${#names[@]} -le 1 ] || printf ' and %d more' $((${#names[@]} - 1))
}

# What becomes of the mutant that is in the tree: prints by whom it is caught; fails if it is not.
mutants_try() { # PATCH
    local log=$mutants_lane/log suite pattern noticed=
    while read -r suite pattern; do
        if ! ninja -C "$mutants_lane/build" "tests/plain-$suite" >"$log" 2>&1; then
            grep -m 1 'error:' "$log" >&2 || tail -n 5 "$log" >&2
            echo "NOT CAUGHT: does not compile"
            return 1
        fi
        mutants_run "$suite" "$pattern" >"$log" 2>&1 || noticed=$(mutants_noticed "$log")
        [ -z "$noticed" ] || break
    done < <(mutants_tests_of "$1" && echo sim)
    echo "${noticed:-NOT CAUGHT}"
    [ -n "$noticed" ]
}

# Apply a patch to the copy, try it, and put the copy in order again.
mutants_one() { # PATCH
    local tree=$mutants_lane/tree file status=0
    file=$(sed -n 's|^+++ b/||p' "$1")
    if [ "$(printf '%s\n' "$file" | wc -l)" -ne 1 ] || ! cp "$tree/$file" "$mutants_lane/saved" ||
        ! (cd "$tree" && GIT_CEILING_DIRECTORIES=$mutants_lane git apply -p1 "$1") >&2; then
        echo "NOT CAUGHT: the patch does not apply any more"
        return 1
    fi
    mutants_try "$1" || status=$?
    cp "$mutants_lane/saved" "$tree/$file"
    return $status
}

# What is to notice mutants must pass without any; each pattern must find tests.
mutants_clean() {
    local suite pattern
    echo "== without a mutant"
    mutants_run sim || return 1
    while read -r suite pattern; do
        [ "$suite" = sim ] && [ -n "$("$mutants_lane/build/tests/plain-sim" --list "$pattern")" ] && continue
        mutants_run "$suite" "$pattern" || return 1
    done < <(for patch; do mutants_tests_of "$patch"; done | sort -u)
}

# The patches of one lane, which with two lanes is every other one: a line for each, which begins with its number and
# whether it was caught.
mutants_take_turns() { # LANE LANES PATCH...
    local lane=$1 lane_count=$2 number=0 caught by patch
    mutants_lane=$mutants_folder/$lane
    shift 2
    for patch; do
        number=$((number + 1)) caught=yes
        [ $((number % lane_count)) -eq $((lane % lane_count)) ] || continue
        by=$(mutants_one "$patch") || caught=no
        printf '%d %s | %d | %s | %s | %s |\n' "$number" "$caught" "$number" "$(head -n 1 "$patch")" \
            "$(sed -n 's|^+++ b/||p' "$patch")" "$by"
        [ $caught = yes ] || echo "$number said FAILED mutants/$(basename "$patch" .patch): $by"
    done
}

# Paths within a copy are relative, so that it can be copied as a whole.
mutants_add_lane() { # LANE
    rm -rf "${mutants_folder:?}/$1"
    cp -a "$mutants_folder/1" "$mutants_folder/$1"
}

run_mutants() { # PATCH...
    local lane lane_count caught pids=()
    if ! mutants_clean "$@"; then
        echo "the tests fail without any mutant: this run is void"
        return 1
    fi
    lane_count=$(nproc)
    [ "$lane_count" -le $mutants_lanes_max ] || lane_count=$mutants_lanes_max
    [ "$lane_count" -le $# ] || lane_count=$#
    for ((lane = 2; lane <= lane_count; lane++)); do
        mutants_add_lane "$lane" || return 1
    done
    for ((lane = 1; lane <= lane_count; lane++)); do
        mutants_take_turns "$lane" "$lane_count" "$@" >"$mutants_folder/$lane/results" &
        pids+=($!)
    done
    wait "${pids[@]}" || true
    for ((lane = 1; lane <= lane_count; lane++)); do
        cat "$mutants_folder/$lane/results"
    done | sort -s -n -k 1,1 >"$mutants_folder/results"
    sed -E 's/^[0-9]+ (yes|no|said) //' "$mutants_folder/results"
    caught=$(grep -c '^[0-9]* yes ' "$mutants_folder/results" || true)
    echo "caught $caught of $#"
    echo "$caught passed, $(($# - caught)) failed"
    [ "$caught" -eq $# ]
}

part_mutants() {
    local patches
    local -x WEIR_TEST_TIMEOUT_S=${WEIR_TEST_TIMEOUT_S:-120} WEIR_TEST_SUITE_TIMEOUT_S=${WEIR_TEST_SUITE_TIMEOUT_S:-1200}
    local -x WEIR_TEST_STORES=sqlite # without a server
    local -x WEIR_TEST_SCALE=100 # each is caught by seeds that were found to do so
    mapfile -t patches < <(compgen -G "$root/tests/mutants/*$test_filter*.patch" | sort)
    if [ ${#patches[@]} -eq 0 ]; then
        run_part mutants true
        return
    fi
    if ! build_mutants tests/plain-sim tests/plain-unit tests/plain-stores; then
        keep_totals mutants 0 1 0
        return
    fi
    run_part mutants run_mutants "${patches[@]}"
    grep -E '^(\| |caught )' "$logs/test-mutants.log" || true
}
