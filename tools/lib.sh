# shellcheck shell=bash
# What the other parts of ./dev share. Sourced, with `root` and `logs` set.

say() { printf '%s\n' "$*" >&2; }
die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

# Seconds since the script began, for progress lines.
elapsed() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

# Run a command with its output in a log; show the log's end only when it fails. NAME becomes the log's name.
quietly() { # NAME COMMAND...
    local log=$logs/$1.log
    shift
    mkdir -p "$logs"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        say "failed: $*"
        say "the whole log: $log"
        return 1
    fi
}
