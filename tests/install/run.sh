#!/usr/bin/env bash
# Install Weir into a scratch root and use it as somebody else would: through pkg-config, from C and C++, shared and
# static. grep -q has no place behind a pipe here: it ends before the writer does, and pipefail takes that for a failure.
# Usage: run.sh BUILD_DIRECTORY. Ends with "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED install/$name"
    fi
}

flags() { pkg-config --define-variable=prefix="$scratch/usr/local" "$@" weir; }

build_and_run() { # COMPILER LANGUAGE STANDARD LIBRARY...
    local compiler=$1 language=$2 standard=$3 cflags
    shift 3
    read -ra cflags <<<"$(flags --cflags)"
    rm -f "$scratch/program"
    "$compiler" "$standard" -Wall -Wextra -Wpedantic -Werror "${cflags[@]}" -x "$language" "$here/program.c" \
        -x none -o "$scratch/program" "$@" && [ "$(LD_LIBRARY_PATH=$libdir "$scratch/program")" = "weir $version" ]
}

build_and_run_shared() { # COMPILER LANGUAGE STANDARD
    local libraries
    read -ra libraries <<<"$(flags --libs)"
    build_and_run "$@" "${libraries[@]}" && ldd "$scratch/program" | grep 'libweir\.so\.0' >/dev/null
}

# Weir's archive, and the shared libraries that weir.pc says it needs. All of them static would need the archives of
# what librdkafka was built with, which distributions do not ship.
build_and_run_static() {
    local needs libraries
    read -ra needs <<<"$(flags --print-requires-private | cut -d ' ' -f 1 | tr '\n' ' ')"
    read -ra libraries <<<"$(pkg-config --libs "${needs[@]}") -pthread -lm"
    [ "${#needs[@]}" -ge 4 ] && build_and_run cc c -std=c11 "$libdir/libweir.a" "${libraries[@]}" &&
        ! ldd "$scratch/program" | grep libweir
}

header_stands_alone() { # COMPILER LANGUAGE HEADER
    printf '#include <weir/%s>\n#include <weir/%s>\ntypedef int nothing;\n' "$3" "$3" |
        "$1" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$scratch/usr/local/include" -x "$2" -
}

DESTDIR=$scratch meson install -C "$build" --no-rebuild --quiet
libdir=$(dirname "$(find "$scratch" -name libweir.so)")
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
version=$(flags --modversion)
command=$scratch/usr/local/bin/weir
# shellcheck source=tests/install/symbols.sh
. "$here/symbols.sh"
# shellcheck source=tests/install/testkit.sh
. "$here/testkit.sh"
# shellcheck source=tests/install/stores.sh
. "$here/stores.sh"
# shellcheck source=tests/install/command.sh
. "$here/command.sh"
# shellcheck source=tests/install/pages.sh
. "$here/pages.sh"
# shellcheck source=tests/install/service.sh
. "$here/service.sh"

check shared_from_c build_and_run_shared cc c -std=c11
check shared_from_cpp build_and_run_shared c++ c++ -std=c++11
check static_from_c build_and_run_static
for header in "$scratch"/usr/local/include/weir/*.h; do
    header=$(basename "$header")
    check "${header}_alone_in_c" header_stands_alone cc c "$header"
    check "${header}_alone_in_cpp" header_stands_alone c++ c++ "$header"
done
check_symbols
check_testkit
check_stores
check_command
check_run
check_pages
check_service
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
