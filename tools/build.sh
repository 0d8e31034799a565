# shellcheck shell=bash
# Build directories, each configured once and again when the list of test files or the tools have changed.

# What a configuration depends on and meson does not watch: files that are found by pattern, and installed packages.
configuration_key() { # OPTIONS...
    (
        echo "$@"
        cd "$root" || exit
        ls -d tests/*/*.c examples/*.c bench/*.c 2>/dev/null
        stat -c %Y /var/lib/dpkg/status 2>/dev/null
    ) | cksum
}

# Configure (when needed) and build, one after the other where several shells want the same. Extra environment, such as
# CC, is inherited.
build() { # NAME DIRECTORY OPTIONS... [-- TARGET...]
    mkdir -p "$logs"
    (
        flock 8
        build_alone "$@"
    ) 8>"$logs/build-$1.lock"
}

build_alone() { # NAME DIRECTORY OPTIONS... [-- TARGET...]
    local name=$1 directory=$2 options=() key
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    key=$(configuration_key "${options[@]}")
    say "[$(elapsed)] building $name"
    if [ "$(cat "$directory/dev.key" 2>/dev/null)" != "$key" ]; then
        configure "$name" "$directory" "${options[@]}" || return 1
        echo "$key" >"$directory/dev.key"
    fi
    quietly "build-$name" ninja -C "$directory" "$@"
}

configure() { # NAME DIRECTORY OPTIONS...
    local name=$1 directory=$2 again=()
    shift 2
    [ ! -f "$directory/build.ninja" ] || again=(--reconfigure)
    quietly "configure-$name" meson setup "${again[@]}" "$directory" "$root" "$@"
}

# Each takes the targets to build; none: all.
build_normal() { build normal "$root/build" -- "$@"; }
build_release() { build release "$root/build/release" --buildtype=release -Dwerror=false -Dtests=disabled -- "$@"; }
build_fuzz() {
    CC=clang build fuzz "$root/build/fuzz" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 \
        -Djemalloc=disabled -Dc_args='-fsanitize=fuzzer-no-link' -- "$@"
}
build_asan() {
    build asan "$root/build/asan" -Db_sanitize=address,undefined -Djemalloc=disabled \
        -Doptimization=1 -- "$@" # built in half the time, run in a tenth more
}
build_tsan() {
    build tsan "$root/build/tsan" -Db_sanitize=thread -Djemalloc=disabled -Doptimization=1 -- "$@"
}
