# shellcheck shell=bash
# Benches: release builds, on a Kafka of their own unless they need none. Sourced by ./dev.
#
# Peers are built into build/peers/NAME, where a bench finds the program `run`, or the file `missing` that says why there
# is none: a bench goes on without. Their manifests are pinned, in bench/peers/NAME.

bench_peers=$root/build/peers

bench_names() { grep -oE "'bench-[a-z0-9_-]+'" "$root/bench/meson.build" | tr -d "'" | sed 's/^bench-//'; }

# ---- peers ----

peer_is_missing() { # NAME WHY
    mkdir -p "$bench_peers/$1"
    rm -f "$bench_peers/$1/run"
    echo "$2" >"$bench_peers/$1/missing"
    say "[$(elapsed)] without $1: $2"
}

# What a peer is made of; another sum, and it is built anew.
peer_key() { (cd "$root/bench/peers/$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }

peer_write_run() { # NAME WORD...
    local run=$bench_peers/$1/run
    shift
    printf '#!/bin/sh\nexec' >"$run"
    printf " '%s'" "$@" >>"$run"
    # shellcheck disable=SC2016 # the script written expands
    printf ' "$@"\n' >>"$run"
    chmod +x "$run"
}

build_peer_franz-go() { # FOLDER TARGET
    command -v go >/dev/null || { echo "no Go on this machine" && return 2; }
    (cd "$1" && GOTOOLCHAIN=local quietly peer-franz-go go build -trimpath -o "$2/franz-go" .) &&
        peer_write_run franz-go "$2/franz-go"
}

build_peer_rust-rdkafka() {
    command -v cargo >/dev/null || { echo "no cargo on this machine" && return 2; }
    (cd "$1" && quietly peer-rust-rdkafka cargo build --release --target-dir "$2/target") &&
        peer_write_run rust-rdkafka "$2/target/release/peer-rust-rdkafka"
}

build_peer_java() {
    { command -v mvn && command -v javac; } >/dev/null || { echo "no Maven and JDK on this machine" && return 2; }
    quietly peer-java mvn -q -B -f "$1/pom.xml" -Dpeer.build="$2" compile dependency:copy-dependencies \
        -DoutputDirectory="$2/lib" && peer_write_run java java -Xmx1g -XX:-UsePerfData -cp "$2/classes:$2/lib/*" Peer
}

build_peer() { # NAME
    local target=$bench_peers/$1 key why code=0
    key=$(peer_key "$1")
    [ -x "$target/run" ] && [ "$(cat "$target/key" 2>/dev/null)" = "$key" ] && return
    mkdir -p "$target"
    rm -f "$target/missing"
    say "[$(elapsed)] building peer $1"
    why=$("build_peer_$1" "$root/bench/peers/$1" "$target") || code=$?
    if [ $code -eq 0 ]; then
        echo "$key" >"$target/key"
    else
        peer_is_missing "$1" "${why:-its build failed, see build/logs/peer-$1.log}"
    fi
}

# ---- benches ----

# The programs that a bench runs as its arms, besides itself.
bench_arms() { grep -oE "'arm-[a-z0-9_-]+'" "$root/bench/meson.build" | tr -d "'" | sed 's|^|bench/|'; }

bench_main() { # NAME [ARGUMENTS...]
    local bench=${1:-} program bootstrap name=bench-$$ peer word alone=no
    bench_names | grep -qx -- "$bench" || die "bench: which? There are: $(bench_names | tr '\n' ' ')"
    need_packages build
    program=$root/build/release/bench/bench-$bench
    shift
    [ "$bench" != micro ] || alone=yes
    for word; do
        [ "$word" != --help ] || alone=yes
    done
    build_release "bench/bench-$bench" || exit 1
    if [ $alone = yes ]; then
        "$program" "$@"
        return
    fi
    if [ "$bench" != smoke ]; then
        # shellcheck disable=SC2046 # words
        build_release bench/bench-smoke $(bench_arms) || exit 1
        for peer in $("$program" --peers-needed "$@"); do
            build_peer "$peer"
        done
        set -- --peers "$bench_peers" "$@"
    fi
    bootstrap=$("$root/dev" kafka --name "$name" start --owner $$) || exit 1
    # shellcheck disable=SC2064 # the name of now
    trap "'$root/dev' kafka --name $name stop" EXIT
    "$program" --bootstrap "$bootstrap" "$@"
}
