# shellcheck shell=bash
# A PostgreSQL server of the system's package for tests: in a folder of its own, on a unix socket there, by a user who
# is not root, as it refuses root. Sourced by ./dev.

postgres_folder= postgres_pid= # of the server that this shell has started

# Run a command as who owns the server: ourselves, or, for root, nobody.
as_postgres() { # COMMAND...
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && exec setpriv --reuid=nobody --regid=nogroup --clear-groups --pdeathsig INT "$@")
    else
        (cd / && exec setpriv --pdeathsig INT "$@")
    fi
}

# Its programs are not on the path: the newest version's.
postgres_programs() {
    local folders
    mapfile -t folders < <(compgen -G '/usr/lib/postgresql/*/bin' | sort -t / -k 5 -n)
    [ ${#folders[@]} -gt 0 ] || return 1
    echo "${folders[-1]}"
}

# Start one; postgres_folder says where, postgres_pid is the shell's around it.
start_postgres() {
    local programs folder log=$logs/postgres.log
    programs=$(postgres_programs) || return 1
    mkdir -p "$logs"
    folder=$(mktemp -d /tmp/weir-postgres-XXXXXX)
    postgres_folder=$folder
    [ "$(id -u)" -ne 0 ] || chown nobody:nogroup "$folder"
    as_postgres "$programs/initdb" -D "$folder/data" -U weir -A trust --locale=C -E UTF8 --no-sync >"$log" 2>&1 || return 1
    # A machine that loses power takes these data with it; a process that is killed does not.
    as_postgres "$programs/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off \
        -c max_connections=200 >>"$log" 2>&1 &
    postgres_pid=$!
    local tries
    for tries in {1..150}; do
        ! "$programs/pg_isready" -q -h "$folder" -U weir || return 0
        kill -0 "$postgres_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    echo "dev: PostgreSQL did not answer after $tries tries" >>"$log"
    return 1
}

# How it is reached, as libpq takes it.
postgres_address() { echo "host=$postgres_folder user=weir dbname=postgres"; }

# Run a command beside a server of its own, which is in WEIR_TEST_POSTGRES.
on_postgres() { # COMMAND...
    (
        trap stop_postgres EXIT
        if ! start_postgres; then
            cat "$logs/postgres.log"
            exit 1
        fi
        WEIR_TEST_POSTGRES=$(postgres_address)
        export WEIR_TEST_POSTGRES
        "$@"
    )
}

# On any exit of the shell that started it.
stop_postgres() {
    local server
    if [ -n "$postgres_pid" ]; then
        server=$(head -n 1 "$postgres_folder/data/postmaster.pid" 2>/dev/null) || true
        [ -z "$server" ] || kill -INT "$server" 2>/dev/null || true # ends its sessions, and itself
        wait "$postgres_pid" 2>/dev/null || true
    fi
    [ -z "$postgres_folder" ] || rm -rf "$postgres_folder"
    postgres_pid='' postgres_folder=''
}
