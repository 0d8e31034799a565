# shellcheck shell=bash
# A real Kafka on loopback, one to three brokers, for tests, benches and trying things out. Sourced by ./dev.
#
#   .cache/kafka/jars        what Maven brought; used only while `complete` beside it agrees
#   .cache/kafka/run/NAME    one cluster: bootstrap, heap, and for each broker N its folder N with server.properties,
#                            pid, log, data
#
# A pid is ours only while that process has the broker's server.properties among its arguments; no other is signalled.

kafka_home=$root/.cache/kafka
kafka_jars=$kafka_home/jars
kafka_pom=$root/tools/kafka/pom.xml

kafka_usage() {
    cat <<'USAGE'
usage: ./dev kafka COMMAND [--name NAME]        a real Kafka on loopback (NAME: default)

  start [--brokers 1|3] [--set KEY=VALUE]... [--offset-metadata-max-bytes N] [--heap 1g] [--owner PID]
                          start it and print its bootstrap address; with --owner it ends when that process does
  stop | status           stop it and delete its data | list what runs
  kill | pause | resume | restart [BROKER]
                          SIGKILL | SIGSTOP | SIGCONT one broker (1) | end it and start it again with its data
  topic create TOPIC [--partitions N] [--replicas N] [--config KEY=VALUE]...
  topic delete | describe TOPIC
  config topic TOPIC KEY=VALUE... | config broker ID KEY=VALUE...
USAGE
}

# ---- the programs ----

kafka_is_complete() {
    [ -f "$kafka_home/complete" ] && (cd "$kafka_home" && sha256sum --status -c complete 2>/dev/null)
}

# Bring the jars, once: they are copied aside and moved into place when all are there.
kafka_fetch() {
    kafka_is_complete && return
    need_packages kafka
    say "fetching Kafka (about 50 MB, once)"
    rm -rf "$kafka_home/jars" "$kafka_home/jars.new" "$kafka_home/complete"
    mkdir -p "$kafka_home"
    quietly kafka-fetch mvn -B -f "$kafka_pom" dependency:copy-dependencies -DoutputDirectory="$kafka_home/jars.new" ||
        die "Maven could not bring Kafka"
    mv "$kafka_home/jars.new" "$kafka_jars"
    (cd "$kafka_home" && sha256sum "$kafka_pom" jars/*.jar >complete.new && mv complete.new complete)
}

kafka_java() { # HEAP ARGUMENTS...
    local heap=$1
    shift
    exec java -Xmx"$heap" -Xms64m -XX:-UsePerfData -XX:+UseSerialGC -Djava.io.tmpdir="$kafka_dir" \
        -Dlog4j2.configurationFile="$root/tools/kafka/log4j2.properties" -cp "$kafka_jars/*" "$@"
}

kafka_tool() { # CLASS ARGUMENTS...
    (kafka_java 256m -XX:TieredStopAtLevel=1 -Dkafka.log.level=error "$@" </dev/null)
}

# ---- one broker's process ----

kafka_pid() { # BROKER: its pid while it lives, else nothing
    local pid file=$kafka_dir/$1/pid
    [ -s "$file" ] && read -r pid <"$file" || return 1
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$kafka_dir/$1/server.properties" && echo "$pid"
} 2>/dev/null

kafka_signal() { # SIGNAL BROKER
    local pid
    pid=$(kafka_pid "$2") || die "broker $2 of '$kafka_name' does not run"
    kill -s "$1" "$pid"
}

kafka_launch() { # BROKER
    local folder=$kafka_dir/$1 heap
    heap=$(<"$kafka_dir/heap")
    (
        export KAFKA_OPTS=
        kafka_java "$heap" kafka.Kafka "$folder/server.properties" >>"$folder/log" 2>&1 </dev/null &
        echo $! >"$folder/pid"
    )
}

kafka_end() { # SIGNAL BROKER: and wait until it is gone
    local pid tries=0
    pid=$(kafka_pid "$2") || return 0
    kill -s CONT "$pid" && kill -s "$1" "$pid" || return 0
    while kafka_pid "$2" >/dev/null; do
        sleep 0.05
        tries=$((tries + 1))
        [ $tries -eq 400 ] && kill -s KILL "$pid"
        [ $tries -lt 600 ] || die "broker $2 (pid $pid) does not end"
    done
}

# ---- readiness: a Metadata request by hand, as a JVM or a client would take longer than the broker's start ----

# How many brokers the one on PORT knows of; 0 while it does not answer.
kafka_brokers_known() { # PORT
    local answer
    answer=$(
        exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 0
        # size 15, Metadata (3) version 4, correlation 1, no client id; no topics, create none
        printf '\0\0\0\x0f\0\x03\0\x04\0\0\0\x01\xff\xff\0\0\0\0\0' >&3
        timeout 3 od -An -v -tu1 -w16 -N16 <&3
    ) || answer=
    # size, correlation, throttle time, then the number of brokers
    read -ra answer <<<"$answer"
    echo "${answer[15]:-0}"
}

kafka_port() { tr , '\n' <"$kafka_dir/bootstrap" | sed -n "$1s/.*://p"; } # BROKER

# Wait until a broker answers and knows of COUNT brokers, itself among them. One that was launched a moment ago may not be
# a JVM yet: it counts as gone when it has not been one for some seconds.
kafka_await() { # BROKER COUNT
    local port deadline=$((SECONDS + 90)) seen=$SECONDS
    port=$(kafka_port "$1")
    until [ "$(kafka_brokers_known "$port")" -ge "$2" ]; do
        ! kafka_pid "$1" >/dev/null || seen=$SECONDS
        [ $((SECONDS - seen)) -lt 5 ] && [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# ---- a cluster ----

# The first of COUNT free ports in a row, below the range that the kernel gives to clients.
kafka_free_ports() { # COUNT
    local first port
    while :; do
        first=$((20000 + RANDOM % 10000))
        for ((port = first; port < first + $1; port++)); do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
        done
        echo $first
        return
    done
}

kafka_write_properties() { # BROKER COUNT FIRST_PORT EXTRA...
    local broker=$1 count=$2 first=$3 voters='' i
    shift 3
    for ((i = 1; i <= count; i++)); do
        voters+=${voters:+,}$i@127.0.0.1:$((first + count + i - 1))
    done
    mkdir -p "$kafka_dir/$broker"
    cat >"$kafka_dir/$broker/server.properties" <<PROPERTIES
node.id=$broker
process.roles=broker,controller
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$((first + broker - 1)),CONTROLLER://127.0.0.1:$((first + count + broker - 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$((first + broker - 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$kafka_dir/$broker/data
offsets.topic.replication.factor=$count
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$count
transaction.state.log.min.isr=$(((count + 1) / 2))
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$count
share.coordinator.state.topic.min.isr=$(((count + 1) / 2))
default.replication.factor=$count
min.insync.replicas=$(((count + 1) / 2))
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
$(printf '%s\n' "$@")
PROPERTIES
}

kafka_format() { # COUNT
    local id broker formats=()
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')
    for ((broker = 1; broker <= $1; broker++)); do
        kafka_tool kafka.tools.StorageTool format -t "$id" -c "$kafka_dir/$broker/server.properties" >/dev/null &
        formats+=($!)
    done
    for broker in "${formats[@]}"; do
        wait "$broker" || return 1
    done
}

# Start a cluster on free ports. A port may be taken between the look and the bind: then once more with others.
kafka_start_once() { # COUNT HEAP EXTRA...
    local count=$1 heap=$2 first broker
    shift 2
    rm -rf "$kafka_dir"
    mkdir -p "$kafka_dir"
    first=$(kafka_free_ports $((2 * count)))
    for ((broker = 1; broker <= count; broker++)); do
        kafka_write_properties "$broker" "$count" "$first" "$@"
        printf '%s127.0.0.1:%d' "$([ "$broker" -eq 1 ] || echo ,)" $((first + broker - 1))
    done >"$kafka_dir/bootstrap"
    echo >>"$kafka_dir/bootstrap"
    echo "$heap" >"$kafka_dir/heap"
    kafka_format "$count" || return 1
    for ((broker = 1; broker <= count; broker++)); do
        kafka_launch "$broker"
    done
    for ((broker = 1; broker <= count; broker++)); do
        kafka_await "$broker" "$count" || return 1
    done
}

kafka_remove() {
    local folder
    for folder in "$kafka_dir"/[0-9]*/; do
        [ -d "$folder" ] && kafka_end KILL "$(basename "$folder")"
    done
    rm -rf "$kafka_dir"
}

kafka_living() { # how many brokers run
    local folder count=0
    for folder in "$kafka_dir"/[0-9]*/; do
        kafka_pid "$(basename "$folder")" >/dev/null && count=$((count + 1))
    done
    echo $count
}

# Outlives this script, and ends the cluster when its owner has gone, however that ended.
kafka_watch_owner() { # PID
    [ -d "/proc/$1" ] || die "--owner $1: no such process"
    # shellcheck disable=SC2016 # the inner shell expands
    setsid bash -c '
        while [ -d "/proc/$1" ] && [ -d "$2" ]; do sleep 1; done
        [ ! -d "$2" ] || exec "$3" kafka --name "$4" stop' \
        kafka-watch "$1" "$kafka_dir" "$root/dev" "$kafka_name" >/dev/null 2>&1 </dev/null &
}

kafka_start() {
    local count=1 heap='' owner='' extra=() tries
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || die "$1: an option of ./dev kafka start with its value is missing"
        case $1 in
        --brokers) count=$2 ;;
        --heap) heap=$2 ;;
        --owner) owner=$2 ;;
        --set) extra+=("$2") ;;
        --offset-metadata-max-bytes) extra+=("offset.metadata.max.bytes=$2") ;;
        *) die "kafka start: unknown option '$1' (see ./dev kafka)" ;;
        esac
        shift 2
    done
    [[ $count =~ ^[1-5]$ ]] || die "--brokers $count: must be 1 to 5"
    [ "$(kafka_living)" -eq 0 ] || die "Kafka '$kafka_name' runs already: $(<"$kafka_dir/bootstrap"); ./dev kafka stop ends it"
    kafka_fetch
    trap 'kafka_remove' EXIT
    for tries in 1 2 3; do
        if kafka_start_once "$count" "${heap:-$([ "$count" -eq 1 ] && echo 1g || echo 512m)}" "${extra[@]}"; then
            [ -z "$owner" ] || kafka_watch_owner "$owner"
            trap - EXIT
            cat "$kafka_dir/bootstrap"
            return
        fi
        grep -qs 'Address already in use' "$kafka_dir"/*/log || break
        kafka_remove
    done
    tail -n 30 "$kafka_dir"/*/log >&2 2>/dev/null || true
    die "Kafka did not come up (try $tries); its log's end is above"
}

kafka_status() {
    local folder broker pid any=no
    for folder in "$kafka_home"/run/*/; do
        [ -d "$folder" ] || continue
        kafka_name=$(basename "$folder") kafka_dir=${folder%/}
        for broker in "$kafka_dir"/[0-9]*/; do
            broker=$(basename "$broker")
            pid=$(kafka_pid "$broker") && pid="pid $pid" || pid=down
            printf '%-16s broker %s  %-12s %s\n' "$kafka_name" "$broker" "$pid" "$(<"$kafka_dir/bootstrap")"
            any=yes
        done
    done
    [ $any = yes ] || echo "no Kafka runs"
}

kafka_restart() { # BROKER
    [ -d "$kafka_dir/$1" ] || die "Kafka '$kafka_name' has no broker $1"
    kafka_end TERM "$1"
    kafka_launch "$1"
    kafka_await "$1" "$(kafka_living)" || die "broker $1 did not come back; see $kafka_dir/$1/log"
}

kafka_topic() { # create|delete|describe TOPIC [OPTIONS]
    local command=${1:-} topic=${2:-} arguments=()
    [ -n "$topic" ] || die "kafka topic: needs create, delete or describe, and a topic"
    shift 2
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || die "kafka topic: $1 needs a value"
        case $1 in
        --partitions) arguments+=(--partitions "$2") ;;
        --replicas) arguments+=(--replication-factor "$2") ;;
        --config) arguments+=(--config "$2") ;;
        *) die "kafka topic: unknown option '$1' (see ./dev kafka)" ;;
        esac
        shift 2
    done
    kafka_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$(<"$kafka_dir/bootstrap")" \
        "--$command" --topic "$topic" "${arguments[@]}"
}

kafka_config() { # topic|broker NAME KEY=VALUE...
    [ $# -ge 3 ] || die "kafka config: needs topic or broker, its name, and KEY=VALUE"
    local type=${1}s name=$2 settings
    shift 2
    printf -v settings '%s,' "$@"
    kafka_tool kafka.admin.ConfigCommand --bootstrap-server "$(<"$kafka_dir/bootstrap")" --alter \
        --entity-type "$type" --entity-name "$name" --add-config "${settings%,}"
}

kafka_main() {
    local arguments=() command
    kafka_name=default
    while [ $# -gt 0 ]; do
        if [ "$1" = --name ]; then
            kafka_name=${2:-}
            shift
        else
            arguments+=("$1")
        fi
        shift
    done
    [[ $kafka_name =~ ^[A-Za-z0-9._-]+$ ]] || die "--name '$kafka_name': letters, digits, dot, dash and underscore only"
    kafka_dir=$kafka_home/run/$kafka_name
    set -- "${arguments[@]}"
    command=${1:-help}
    [ $# -eq 0 ] || shift
    case $command in
    start) kafka_start "$@" ;;
    stop) kafka_remove ;;
    status) kafka_status ;;
    help) kafka_usage ;;
    kill | pause | resume | restart | topic | config)
        [ -d "$kafka_dir" ] || die "no Kafka '$kafka_name' runs; ./dev kafka start"
        case $command in
        kill) kafka_end KILL "${1:-1}" ;;
        pause) kafka_signal STOP "${1:-1}" ;;
        resume) kafka_signal CONT "${1:-1}" ;;
        restart) kafka_restart "${1:-1}" ;;
        *) "kafka_$command" "$@" ;;
        esac
        ;;
    *) die "kafka: unknown command '$command' (see ./dev kafka)" ;;
    esac
}
