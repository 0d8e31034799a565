# shellcheck shell=bash
# The API reference, from the comments of the public headers. Sourced by ./dev.

build_reference() {
    mkdir -p "$root/build/docs"
    (cd "$root" && doxygen tools/reference/Doxyfile)
}

docs_main() {
    need_packages docs
    quietly docs build_reference || exit 1
    say "build/docs/html/index.html"
}
