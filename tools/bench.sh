# shellcheck shell=bash
# Benches: release builds, on a Kafka of their own unless they need none. Sourced by ./dev.

bench_names() { grep -oE "'bench-[a-z0-9_-]+'" "$root/bench/meson.build" | tr -d "'" | sed 's/^bench-//'; }

bench_main() { # NAME [ARGUMENTS...]
    local bench=${1:-} program bootstrap name=bench-$$
    bench_names | grep -qx -- "$bench" || die "bench: which? There are: $(bench_names | tr '\n' ' ')"
    need_packages build
    program=bench/bench-$bench
    build_release "$program" || exit 1
    program=$root/build/release/$program
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
