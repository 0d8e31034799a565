# shellcheck shell=bash
# Benches: release builds, on a Kafka of their own unless they need none. Sourced by ./dev.

bench_names() {
    local file
    for file in "$root"/build/release/bench/bench-*; do
        [ -f "$file" ] && [ -x "$file" ] && basename "$file" | sed 's/^bench-//'
    done
}

bench_main() { # NAME [ARGUMENTS...]
    local bench=${1:-} program bootstrap name=bench-$$
    need_packages build
    build_release || exit 1
    program=$root/build/release/bench/bench-$bench
    if [ -z "$bench" ] || [ ! -x "$program" ]; then
        die "bench: which? There are: $(bench_names | tr '\n' ' ')"
    fi
    shift
    if [ "$bench" = micro ]; then
        "$program" "$@"
        return
    fi
    bootstrap=$("$root/dev" kafka --name "$name" start --owner $$) || exit 1
    # shellcheck disable=SC2064 # the name of now
    trap "'$root/dev' kafka --name $name stop" EXIT
    "$program" --bootstrap "$bootstrap" "$@"
}
