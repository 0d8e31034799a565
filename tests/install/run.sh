#!/usr/bin/env bash
# Install Weir into a scratch root and use it as somebody else would: through pkg-config, from C and C++, shared and
# static. Usage: run.sh BUILD_DIRECTORY. Ends with "N passed, N failed".
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

build_and_run() { # EXTRA... : compiler, language and pkg-config options decide
    local compiler=$1 standard=$2 cflags libs
    shift 2
    read -ra cflags <<<"$(flags --cflags)"
    read -ra libs <<<"$(flags --libs "$@")"
    "$compiler" "$standard" -Wall -Wextra -Wpedantic -Werror "${cflags[@]}" -x "${language:-c}" "$here/program.c" \
        -x none -o "$scratch/program" "${link[@]}" "${libs[@]}"
    [ "$(LD_LIBRARY_PATH=$libdir "$scratch/program")" = "weir $version" ]
}

# The archive instead of the shared library: the linker finds a directory first that holds nothing else.
build_and_run_static() {
    local link=(-L"$scratch/static")
    mkdir -p "$scratch/static"
    cp "$libdir/libweir.a" "$scratch/static"
    build_and_run cc -std=c11 --static
    ! ldd "$scratch/program" | grep -q libweir
}

header_stands_alone() { # COMPILER LANGUAGE HEADER
    printf '#include <weir/%s>\n#include <weir/%s>\n' "$3" "$3" |
        "$1" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$scratch/usr/local/include" -x "$2" -
}

exports_are_ours() {
    local foreign
    foreign=$(nm -D --defined-only "$libdir/libweir.so" | awk '$3 !~ /^weir_/ { print $3 }')
    [ -z "$foreign" ] || { echo "libweir.so exports $foreign"; return 1; }
}

command_answers() { LD_LIBRARY_PATH=$libdir "$scratch/usr/local/bin/weir" help >/dev/null; }

DESTDIR=$scratch meson install -C "$build" --no-rebuild --quiet
libdir=$(dirname "$(find "$scratch" -name libweir.so)")
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
version=$(flags --modversion)
link=()

check shared_from_c build_and_run cc -std=c11
language=c++ check shared_from_cpp build_and_run c++ -std=c++11
check static_from_c build_and_run_static
check exports_are_ours exports_are_ours
for header in "$scratch"/usr/local/include/weir/*.h; do
    header=$(basename "$header")
    check "${header}_alone_in_c" header_stands_alone cc c "$header"
    check "${header}_alone_in_cpp" header_stands_alone c++ c++ "$header"
done
[ ! -e "$scratch/usr/local/bin/weir" ] || check command_answers command_answers
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
