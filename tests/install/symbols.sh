# shellcheck shell=bash disable=SC2154
# What the installed libraries show to a linker. Sourced by run.sh, after the installation.

exported() { # LIBRARY
    nm -D --defined-only "$libdir/$1" | awk '{ print $3 }' | sort
}

# Names that a header and what it includes declare with WEIR_EXPORT: preprocessed, so that comments do not count.
declared() { # HEADER
    echo "#include <$1>" |
        cc -E -P -x c "-I$scratch/usr/local/include" - | tr '\n' ' ' |
        grep -oE '__attribute__ *\(\(visibility\("default"\)\)\)[^(;]*\(' | grep -oE 'weir_[a-z0-9_]+ *\($' |
        tr -d ' (' | sort
}

# The API is what the headers say, no more and no less.
exports_are_the_declared() { # LIBRARY HEADER
    local difference
    difference=$(diff <(declared "$2") <(exported "$1")) && [ "$(declared "$2" | wc -l)" -gt 30 ] && return
    printf 'declared (<) and exported (>) differ:\n%s\n' "$difference"
    return 1
}

# Linked statically, nothing of Weir's can clash with a name of the program's.
archive_names_are_prefixed() { # ARCHIVE
    local foreign
    foreign=$(nm -g --defined-only "$libdir/$1" | awk 'NF == 3 && $3 !~ /^weir_/ { print $3 }' | sort -u)
    [ "$(nm -g --defined-only "$libdir/$1" | grep -c ' weir_')" -gt 100 ] && [ -z "$foreign" ] && return
    printf '%s defines %s\n' "$1" "$foreign"
    return 1
}

soname_is() { # LIBRARY NAME
    readelf -d "$libdir/$1" | grep "SONAME.*\[$2\]" >/dev/null
}

# ---- hardening: of FILE ----

addresses_are_settled_at_the_start() {
    readelf -lW "$1" | grep GNU_RELRO >/dev/null && readelf -d "$1" | grep -E 'BIND_NOW|FLAGS_1.*NOW' >/dev/null
}

stack_is_not_executable() { readelf -lW "$1" | grep -E 'GNU_STACK .* RW ' >/dev/null; }

lies_anywhere() { # a library always does
    readelf -hW "$1" | grep 'Type: *DYN' >/dev/null && { [ "$1" != "$command" ] || readelf -d "$1" | grep 'FLAGS_1.*PIE' >/dev/null; }
}

guards_its_stack() { readelf -W --dyn-syms "$1" | grep 'UND __stack_chk_fail' >/dev/null; }

checks_its_buffers() { # _FORTIFY_SOURCE
    [ "$(readelf -W --dyn-syms "$1" | grep -cE 'UND __(v?snprintf|memcpy|strcat|v?fprintf)_chk')" -gt 0 ]
}

# On x86: each object of the archive is made for it; whether a program is, its C library decides too.
branches_land_on_marks() {
    local members marked
    echo 'int nothing;' | cc -fcf-protection -x c -c -o "$scratch/nothing.o" - 2>/dev/null || return 0
    members=$(ar t "$libdir/libweir.a" | wc -l)
    marked=$(readelf -nW "$libdir/libweir.a" | grep -c 'x86 feature: IBT, SHSTK')
    [ "$members" -gt 50 ] && [ "$members" -eq "$marked" ] && return
    echo "of $members objects in libweir.a $marked are marked"
    return 1
}

check_hardening() {
    local file
    for file in "$libdir"/libweir*.so "$command"; do
        for property in addresses_are_settled_at_the_start stack_is_not_executable lies_anywhere guards_its_stack \
            checks_its_buffers; do
            check "$(basename "$file")_$property" "$property" "$file"
        done
    done
    check branches_land_on_marks branches_land_on_marks
}

check_symbols() {
    check exports_are_the_declared exports_are_the_declared libweir.so weir/weir.h
    check archive_names_are_prefixed archive_names_are_prefixed libweir.a
    check soname soname_is libweir.so libweir.so.0
    check_hardening
}
