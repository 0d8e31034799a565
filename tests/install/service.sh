# shellcheck shell=bash disable=SC2154
# examples/order_to_invoice, a service that was written by the guide alone: copied out of the tree, and built and tested by
# its own Makefile, as a user would. Sourced by run.sh, after the installation, with its names.

# Its files as they would be installed for good: pkg-config then needs no word about prefixes.
service_copy() {
    cp -r "$here/../../examples/order_to_invoice" "$scratch/service" && mkdir "$scratch/pkgconfig" &&
        for file in "$libdir"/pkgconfig/*.pc; do
            sed "s|^prefix=.*|prefix=$scratch/usr/local|" "$file" >"$scratch/pkgconfig/${file##*/}" || return 1
        done
}

in_service() { # COMMAND...
    (cd "$scratch/service" && PKG_CONFIG_PATH=$scratch/pkgconfig LD_LIBRARY_PATH=$libdir timeout 300 "$@")
}

service_passes_its_tests() {
    local said
    said=$(in_service make -s check 2>&1) && grep -E 'Tested: [1-9][0-9]* ' <<<"$said" >/dev/null && return
    echo "$said"
    return 1
}

service_refuses_a_file_that_is_not_there() {
    local said status=0
    said=$(in_service ./order_to_invoice nothing.conf 2>&1) || status=$?
    [ "$status" -eq 1 ] && grep 'nothing.conf' <<<"$said" >/dev/null
}

check_service() {
    check service_copy service_copy
    check service_builds in_service make -s
    check service_passes_its_tests service_passes_its_tests
    check service_refuses_a_file_that_is_not_there service_refuses_a_file_that_is_not_there
}
