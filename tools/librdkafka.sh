# shellcheck shell=bash
# The newest librdkafka, to run suites against besides Debian's. Sourced by ./dev.
#
# Its source lies in a package of npm's, pinned here by version and checksum. It is built once and kept in
#
#   ${XDG_CACHE_HOME:-~/.cache}/weir/librdkafka-VERSION   an installation's prefix
#
# which appears in one step when all of it is there, and can be deleted at any time. Nothing of the system changes.

librdkafka_version=2.15.1
librdkafka_package=@confluentinc/kafka-javascript@1.10.1
librdkafka_integrity=sha512-KVePUBn21EqCVP9mfxzEuM3SYJHHEF7X+iiC2e43QQgDSyEaksInmCGooT3w5q+cNAdkSCrK71j0ICfqoSqZLw==
librdkafka_home=${XDG_CACHE_HOME:-${HOME:-$root/.cache}/.cache}/weir
librdkafka_prefix=$librdkafka_home/librdkafka-$librdkafka_version

# Bring the package, and go on only with what was pinned, whatever npm itself has checked.
librdkafka_fetch() { # FOLDER
    cd "$1" || return
    npm pack --silent "$librdkafka_package" || {
        echo "npm could not bring $librdkafka_package"
        return 1
    }
    mv -- *.tgz package.tgz || return
    local wanted seen
    wanted=$(base64 -d <<<"${librdkafka_integrity#sha512-}" | od -An -v -tx1 | tr -d ' \n')
    seen=$(sha512sum package.tgz) seen=${seen%% *}
    [ "$seen" = "$wanted" ] && return
    echo "$librdkafka_package has the checksum $seen instead of $wanted: not used"
    return 1
}

# What Debian's has and the tests use is asked for by name, so that a build without it fails here and not in a test.
librdkafka_build() { # FOLDER
    cd "$1" && tar -xzf package.tgz && cd package/deps/librdkafka || return
    CFLAGS='' CPPFLAGS='' LDFLAGS='' ./configure --prefix="$librdkafka_prefix" --enable-ssl --enable-zlib \
        --enable-zstd --disable-gssapi --disable-curl && make -j 2 -C src &&
        make -C src DESTDIR="$1/installed" install
}

librdkafka_make() (
    folder=$librdkafka_home/building.$$
    trap 'rm -rf "$folder"' EXIT
    rm -rf "$folder" && mkdir -p "$folder" || exit 1
    quietly librdkafka-fetch librdkafka_fetch "$folder" || exit 1
    say "[$(elapsed)] building librdkafka $librdkafka_version (once, about a minute)"
    quietly librdkafka-build librdkafka_build "$folder" || exit 1
    rm -rf "$librdkafka_prefix" && mv "$folder/installed$librdkafka_prefix" "$librdkafka_prefix"
)

# See to it that it is there.
need_librdkafka() {
    [ -f "$librdkafka_prefix/lib/pkgconfig/rdkafka.pc" ] && return
    need_packages librdkafka
    command -v npm >/dev/null || die "librdkafka $librdkafka_version comes by npm, which is not installed"
    mkdir -p "$librdkafka_home" || die "cannot write $librdkafka_home; XDG_CACHE_HOME says where else"
    (
        flock 9
        [ -f "$librdkafka_prefix/lib/pkgconfig/rdkafka.pc" ] || librdkafka_make
    ) 9>"$librdkafka_home/lock" ||
        die "librdkafka $librdkafka_version is not to be had, see above; without --librdkafka the suites use Debian's"
}

# The suites' build with it; they say at their start which one has been loaded, and end if it is not this one.
build_librdkafka_new() {
    PKG_CONFIG_PATH="$librdkafka_prefix/lib/pkgconfig" build librdkafka-new "$root/build/librdkafka-new" \
        -Dc_link_args="-Wl,-rpath,$librdkafka_prefix/lib" -- "$@"
}
