# shellcheck shell=bash disable=SC2154
# The installed test kit: a test of somebody else's, shared and static. Sourced by run.sh, after symbols.sh, with their
# names.

kit_flags() { pkg-config --define-variable=prefix="$scratch/usr/local" "$@" weir-testkit; }

build_test() { # COMPILER LANGUAGE STANDARD SOURCE LIBRARY...
    local compiler=$1 language=$2 standard=$3 source=$4 cflags
    shift 4
    read -ra cflags <<<"$(kit_flags --cflags)"
    rm -f "$scratch/program"
    "$compiler" "$standard" -Wall -Wextra -Wpedantic -Werror "${cflags[@]}" -x "$language" "$source" -x none \
        -o "$scratch/program" "$@"
}

run_test() { LD_LIBRARY_PATH=$libdir "$scratch/program"; }

test_shared() { # COMPILER LANGUAGE STANDARD
    local libraries
    read -ra libraries <<<"$(kit_flags --libs)"
    build_test "$@" "$here/testkit.c" "${libraries[@]}" && [ "$(run_test)" = "weir $version" ] &&
        ldd "$scratch/program" | grep 'libweir-testkit\.so\.0' >/dev/null &&
        ! ldd "$scratch/program" | grep 'libweir\.so'
}

test_static() {
    local needs libraries
    read -ra needs <<<"$(kit_flags --print-requires-private | cut -d ' ' -f 1 | tr '\n' ' ')"
    read -ra libraries <<<"$(pkg-config --libs "${needs[@]}") -pthread -lm"
    build_test cc c -std=c11 "$here/testkit.c" "$libdir/libweir-testkit.a" "${libraries[@]}" &&
        [ "$(run_test)" = "weir $version" ] && ! ldd "$scratch/program" | grep libweir
}

check_testkit() {
    check testkit_shared_from_c test_shared cc c -std=c11
    check testkit_shared_from_cpp test_shared c++ c++ -std=c++11
    check testkit_static_from_c test_static
    check testkit_exports_are_the_declared exports_are_the_declared libweir-testkit.so weir/testkit.h
    check testkit_archive_names_are_prefixed archive_names_are_prefixed libweir-testkit.a
    check testkit_soname soname_is libweir-testkit.so libweir-testkit.so.0
}
