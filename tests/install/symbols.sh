# shellcheck shell=bash disable=SC2154
# What the installed libraries show to a linker. Sourced by run.sh, after the installation.

exported() { nm -D --defined-only "$libdir/libweir.so" | awk '{ print $3 }' | sort; }

# Names that the public headers declare with WEIR_EXPORT: preprocessed, so that comments do not count.
declared() {
    echo '#include <weir/weir.h>' |
        cc -E -P -x c "-I$scratch/usr/local/include" - | tr '\n' ' ' |
        grep -oE '__attribute__ *\(\(visibility\("default"\)\)\)[^(;]*\(' | grep -oE 'weir_[a-z0-9_]+ *\($' |
        tr -d ' (' | sort
}

# The API is what the headers say, no more and no less.
exports_are_the_declared() {
    local difference
    difference=$(diff <(declared) <(exported)) && [ "$(declared | wc -l)" -gt 30 ] && return
    printf 'declared (<) and exported (>) differ:\n%s\n' "$difference"
    return 1
}

# Linked statically, nothing of Weir's can clash with a name of the program's.
archive_names_are_prefixed() {
    local foreign
    foreign=$(nm -g --defined-only "$libdir/libweir.a" | awk 'NF == 3 && $3 !~ /^weir_/ { print $3 }' | sort -u)
    [ "$(nm -g --defined-only "$libdir/libweir.a" | grep -c ' weir_')" -gt 100 ] && [ -z "$foreign" ] && return
    printf 'libweir.a defines %s\n' "$foreign"
    return 1
}

soname_is() { # NAME
    readelf -d "$libdir/libweir.so" | grep "SONAME.*\[$1\]" >/dev/null
}

is_hardened() { # FILE
    readelf -lW "$1" | grep GNU_RELRO >/dev/null && readelf -d "$1" | grep -E 'BIND_NOW|FLAGS_1.*NOW' >/dev/null &&
        ! readelf -lW "$1" | grep 'GNU_STACK.* RWE'
}

check_symbols() {
    check exports_are_the_declared exports_are_the_declared
    check archive_names_are_prefixed archive_names_are_prefixed
    check soname soname_is libweir.so.0
    check library_is_hardened is_hardened "$libdir/libweir.so"
    check command_is_hardened is_hardened "$command"
}
