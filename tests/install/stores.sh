# shellcheck shell=bash disable=SC2154
# The installed stores, where they were built: what they show, and a program on each. Sourced by run.sh, after symbols.sh,
# with its names.

store_exports_are_the_declared() { # NAME
    local difference
    difference=$(diff <(declared "weir/$1.h" | grep "^weir_$1_") <(exported "libweir-$1.so")) &&
        [ "$(exported "libweir-$1.so" | wc -l)" -ge 4 ] && return
    printf 'declared (<) and exported (>) differ:\n%s\n' "$difference"
    return 1
}

store_flags() { # NAME FLAG...
    local name=$1
    shift
    pkg-config --define-variable=prefix="$scratch/usr/local" "$@" "weir-$name"
}

# It is linked, and refuses what cannot be opened.
store_program() { # NAME COMPILER LANGUAGE STANDARD LIBRARY...
    local name=$1 compiler=$2 language=$3 standard=$4 cflags
    shift 4
    read -ra cflags <<<"$(store_flags "$name" --cflags)"
    rm -f "$scratch/program"
    "$compiler" "$standard" -Wall -Wextra -Wpedantic -Werror "${cflags[@]}" "-DSTORE_$name" -x "$language" \
        "$here/stores.c" -x none -o "$scratch/program" "$@" && [[ "$(LD_LIBRARY_PATH=$libdir "$scratch/program")" =~ ^WEIR_(SYSTEM|INVALID)$ ]]
}

store_shared() { # NAME COMPILER LANGUAGE STANDARD
    local libraries
    read -ra libraries <<<"$(store_flags "$1" --libs)"
    store_program "$@" "${libraries[@]}" && ldd "$scratch/program" | grep "libweir-$1\.so\.0" >/dev/null
}

store_static() { # NAME LIBRARY
    local needs libraries
    read -ra needs <<<"$(flags --print-requires-private | cut -d ' ' -f 1 | tr '\n' ' ')"
    [ -z "$2" ] || needs+=("$2")
    read -ra libraries <<<"$(pkg-config --libs "${needs[@]}") -pthread -lm"
    store_program "$1" cc c -std=c11 "$libdir/libweir-$1.a" "$libdir/libweir.a" "${libraries[@]}" &&
        ! ldd "$scratch/program" | grep libweir
}

check_stores() {
    local name
    local -A beneath=([inbox]='' [sqlite]=sqlite3 [postgres]=libpq)
    for name in inbox sqlite postgres; do
        [ -e "$libdir/libweir-$name.so" ] || continue
        check "${name}_exports_are_the_declared" store_exports_are_the_declared "$name"
        check "${name}_soname" soname_is "libweir-$name.so" "libweir-$name.so.0"
        check "${name}_shared_from_c" store_shared "$name" cc c -std=c11
        check "${name}_shared_from_cpp" store_shared "$name" c++ c++ -std=c++11
        check "${name}_static_from_c" store_static "$name" "${beneath[$name]}"
    done
}
