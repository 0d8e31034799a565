# shellcheck shell=bash
# Debian packages: asked for by what is about to be done, installed only when missing. Sourced by ./dev.
#
# A package may be written as alternatives, a|b: any of them will do, the first is installed.

packages_of() { # GROUP
    case $1 in
    build)
        echo gcc libc6-dev meson ninja-build 'pkgconf|pkg-config' librdkafka-dev libuv1-dev libck-dev libinih-dev \
            libxxhash-dev libjemalloc-dev
        ;;
    test) echo g++ make libcriterion-dev libcurl4-openssl-dev libsqlite3-dev libpq-dev postgresql valgrind clang 'libclang-rt-dev|libclang-rt-14-dev' ;;
    check) echo g++ clang clang-format clang-tidy shellcheck doxygen ;;
    docs) echo doxygen ;;
    coverage) echo gcovr ;;
    librdkafka) # npm may have come by other ways than Debian's
        echo make g++ libssl-dev zlib1g-dev libzstd-dev
        command -v npm >/dev/null || echo npm
        ;;
    kafka) echo 'default-jre-headless|openjdk-17-jre-headless|openjdk-21-jre-headless' maven ;;
    esac
}

# Names of those of the packages that are not installed.
missing_packages() { # PACKAGE...
    local installed package alternative
    # shellcheck disable=SC2086,SC2048 # alternatives become words
    installed=$(
        IFS='| '
        dpkg-query -W -f '${db:Status-Status}:${Package} ' $* 2>/dev/null
    ) || true
    for package; do
        for alternative in ${package//|/ }; do
            [[ " $installed" == *" installed:$alternative "* ]] && continue 2
        done
        printf '%s ' "${package%%|*}"
    done
}

# apt's own lists may be absent or old: they are brought only when the first try fails.
apt_install() { # PACKAGE...
    local apt=(apt-get -o Dpkg::Use-Pty=0 -q -y)
    [ "$(id -u)" -eq 0 ] || apt=(sudo "${apt[@]}")
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" install --no-install-recommends "$@" && return
    "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"
}

may_install() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || return 1
    [ -t 0 ] || sudo -n true 2>/dev/null
}

# See to it that the packages of the groups are there.
need_packages() { # GROUP...
    local group packages=() missing
    for group; do
        read -ra missing <<<"$(packages_of "$group")"
        packages+=("${missing[@]}")
    done
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: expecting the equivalents of ${packages[*]}"
        return
    fi
    read -ra missing <<<"$(missing_packages "${packages[@]}")"
    [ ${#missing[@]} -gt 0 ] || return 0
    may_install || die "packages are missing; as root: apt-get update && apt-get install -y ${missing[*]}"
    say "installing ${missing[*]}"
    quietly setup apt_install "${missing[@]}" || die "the packages could not be installed"
}
