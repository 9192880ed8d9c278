# shellcheck shell=bash
# What a hit of the remote store costs, and what sending responses to it costs. Part of envoy/bench, which sources it.

REMOTE=(bridge remote fetch)
MISSERS=(off lookups replicates)
# The store of no worker and of no node keeps anything, so that every request asks the remote store.
ONLY_REMOTE='"worker":{"bytes":"0"},"node":{"bytes":"0"}'

# Prints what a server answers to a GET for the host of this bench, which is part of every key: `ask PORT PATH [FIELD]…`.
ask() {
  local port=$1 path=$2
  shift 2
  (
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
    printf 'GET %s HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n' "$path" >&3
    if [ $# -gt 0 ]; then printf '%s\r\n' "$@" >&3; fi
    printf '\r\n' >&3
    # webdis sometimes leaves a connection open that it was told to close.
    timeout 2 cat <&3 | tr -d '\0'
  ) 2>/dev/null
}

# Prints a port of 127.0.0.1 that nothing listens on, below those that the kernel gives to clients.
unused_port() {
  local candidate
  while candidate=$((20000 + RANDOM % 12000)) && port_taken "$candidate"; do :; done
  echo "$candidate"
}

# Starts a program that listens, and waits for it: `listen NAME PORT COMMAND…`.
listen() {
  local name=$1 port=$2 deadline=$((SECONDS + 30))
  shift 2
  start "$SCRATCH/$name.log" "$@"
  PID[$name]=$started
  until port_taken "$port"; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$started" 2>/dev/null; then
      fail "$name did not start: $(tail -n 1 "$SCRATCH/$name.log")"
    fi
    sleep 0.05
  done
}

# Starts Redis and webdis. Sets `bridge_port`.
start_bridge() {
  local redis_port
  redis_port=$(unused_port)
  listen redis "$redis_port" redis-server --bind 127.0.0.1 --port "$redis_port" --save '' --appendonly no \
    --maxmemory 256mb --maxmemory-policy allkeys-lru --dir "$SCRATCH"
  bridge_port=$(unused_port)
  # An odd pool: webdis passes over every other connection of an even one.
  cat >"$SCRATCH/webdis.json" <<WEBDIS
{
  "redis_host": "127.0.0.1", "redis_port": $redis_port, "http_host": "127.0.0.1", "http_port": $bridge_port,
  "threads": 1, "pool_size": 9, "daemonize": false, "database": 0, "verbosity": 1, "logfile": "$SCRATCH/webdis.messages",
  "http_max_request_size": 33554432
}
WEBDIS
  listen webdis "$bridge_port" webdis "$SCRATCH/webdis.json"
}

# Prints a filter of the origin that waits as long as a request field says, in milliseconds.
delay_filter() {
  cat <<'FILTER'
                  - name: envoy.filters.http.fault
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
                      delay: { header_delay: {}, percentage: { numerator: 100 } }
FILTER
}

# Prints a configuration with the remote store: `with_remote MEMBERS-OF-REMOTE OTHER-MEMBERS`. The deadline is long: a machine
# that pauses must not turn a hit into a fetch.
with_remote() { quoted "{\"remote\":{\"enabled\":true,\"timeout\":\"2s\"$1}${2:+,$2}}"; }

# Starts all processes of a round: Redis, webdis and the origin on core 1, the subjects on core 0.
start_redis_subjects() {
  local size base="$root/envoy/bootstrap/local.yaml" ports
  for size in "${SIZES[@]}"; do head -c "$size" /dev/urandom >"$SCRATCH/body-$size"; done
  direct_routes >"$SCRATCH/routes"
  delay_filter >"$SCRATCH/delay"
  : >"$SCRATCH/none"
  PINNED=(taskset -c 1)
  start_bridge
  marks=("PORT=0" "ADMIN_PORT=0" "WASM=$(quoted "$filter")")
  subject origin < <(variant filters "$SCRATCH/delay" <"$base" | variant routes "$SCRATCH/routes")
  PINNED=(taskset -c 0)
  ports=("${marks[@]}")
  # The same Envoy as a plain proxy of webdis: no filter, and webdis as the origin.
  marks=("${ports[@]}" "ORIGIN_PORT=$bridge_port")
  subject bridge < <(variant filters "$SCRATCH/none" <"$base")
  ports+=("ORIGIN_PORT=${PORT[origin]}")
  marks=("${ports[@]}")
  subject fetch < <(variant filters "$SCRATCH/none" <"$base")
  subject off <"$base"
  ports+=(REDIS=1 "BRIDGE_PORT=$bridge_port")
  marks=("${ports[@]}" "CONFIG=$(with_remote "" "$ONLY_REMOTE")")
  subject remote <"$base"
  # Asks, but sends nothing, since every record is too large to be sent.
  marks=("${ports[@]}" "CONFIG=$(with_remote ',"object_bytes":"1KiB"' "")")
  subject lookups <"$base"
  marks=("${ports[@]}" "CONFIG=$(with_remote "" "")")
  subject replicates <"$base"
}

# How many URLs there are of each size, so that each of the connections asks for another one.
URLS=64

# Has the subject that sends put objects of each size into Redis, and notes their keys in `KEYS_OF`, by size.
fill_redis() {
  local size deadline key keys url known=' '
  declare -gA KEYS_OF=()
  for size in "${SIZES[@]}"; do
    deadline=$((SECONDS + 20)) keys=()
    for ((url = 1; url <= URLS; url++)); do ask "${PORT[replicates]}" "/$size?url=$url" >/dev/null; done
    until [ "${#keys[@]}" -ge "$URLS" ]; do
      [ "$SECONDS" -lt "$deadline" ] || fail "${#keys[@]} of $URLS objects of $size bytes reached Redis within 20 s"
      sleep 0.1
      for key in $(ask "$bridge_port" '/KEYS/*' | tr ',[]{}' '\n' | tr -d '"\r' | grep -x 'selvage:v1:[0-9a-f]\{32\}' || true); do
        if [[ $known != *" $key "* ]]; then keys+=("$key") known+="$key "; fi
      done
    done
    KEYS_OF[$size]=${keys[*]}
    ask "${PORT[remote]}" "/$size?url=1" | grep -ai '^cache-status:.*hit.*detail=remote' >/dev/null ||
      fail "/$size was no hit of the remote store: $(ask "${PORT[remote]}" "/$size?url=1" | tr -d '\r' | grep -ai '^cache-status')"
  done
}

# Has wrk ask for one path after the other: `in_turn PATH…`.
in_turn() {
  local script="$SCRATCH/in-turn.lua"
  {
    echo "local paths = {"
    printf '  "/%s",\n' "$@"
    cat <<'LUA'
}
local requests, n = {}, 0
init = function()
  for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end
end
request = function()
  n = n % #requests + 1
  return requests[n]
end
LUA
  } >"$script"
  WRK=(-H "Host: bench.test" -s "$script")
}

# Prints the paths by which a subject gets the objects of a size: `paths_of SUBJECT SIZE`.
paths_of() {
  local key url
  if [ "$1" = bridge ]; then
    for key in ${KEYS_OF[$2]}; do echo "GET/$key.bin"; done
  else
    for ((url = 1; url <= URLS; url++)); do echo "$2?url=$url"; done
  fi
}

# Has wrk ask for another URL each time: `never_twice PATH DELAY-MS`.
never_twice() {
  local script="$SCRATCH/never-twice.lua"
  cat >"$script" <<LUA
local n = 0
wrk.headers["x-envoy-fault-delay-request"] = "$2"
request = function()
  n = n + 1
  return wrk.format("GET", "/$1?n=$RANDOM$RANDOM-" .. n)
end
LUA
  WRK=(-H "Host: bench.test" -s "$script")
}

# Measures all rounds.
measure_redis() {
  local round size name label paths delay i many=$connections
  if ! have redis-server || ! have webdis; then apt_install "for --redis" redis-server webdis; fi
  for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    start_redis_subjects
    fill_redis
    for size in "${SIZES[@]}"; do
      for label in "$many" 1 same; do
        connections=$many
        if [ "$label" = 1 ]; then connections=1; fi
        for ((i = 0; i < ${#REMOTE[@]}; i++)); do
          name=${REMOTE[(i + round) % ${#REMOTE[@]}]}
          mapfile -t paths < <(paths_of "$name" "$size")
          if [ "$label" = same ]; then paths=("${paths[0]}"); fi
          in_turn "${paths[@]}"
          if [ "$size" = "${SIZES[0]}" ] && [ "$label" = "$many" ]; then load "$name" "" 1; fi
          measure "$round" "$name" "" "$size/$label"
        done
      done
    done
    connections=$many
    for delay in 0 5; do
      for ((i = 0; i < ${#MISSERS[@]}; i++)); do
        name=${MISSERS[(i + round) % ${#MISSERS[@]}]}
        never_twice 10000 "$delay"
        if [ "$delay" = 0 ]; then load "$name" 10000 1; fi
        never_twice 10000 "$delay"
        measure "$round" "$name" 10000 "miss/$delay"
      done
    done
    WRK=()
    sent_of "$round" >>"$SCRATCH/sent"
    stop_subjects
  done
}

# Prints how many records the sending subject has sent, dropped and failed to send, and how many requests it had.
sent_of() { fetch "${ADMIN[replicates]}" '/stats?filter=selvage.(remote|event)' | tr -d '\r' | sed -n "s/^.*selvage\./$1 /p"; }

# Prints the row of one way to get an object: `remote_row SUBJECT TITLE`.
remote_row() {
  local size
  for size in "${SIZES[@]}"; do
    printf '| %s, %s kB | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$2" "$((size / 1000))" \
      "$(ratio "$size/1" "$1" - 8 %.0f)" "$(ratio "$size/1" "$1" bridge 8 %.2f)" \
      "$(ratio "$size/$connections" "$1" - 8 %.0f)" "$(ratio "$size/$connections" "$1" bridge 8 %.2f)" \
      "$(ratio "$size/$connections" "$1" - 5 %.0f)" "$(ratio "$size/$connections" "$1" bridge 5 %.2f)" \
      "$(ratio "$size/$connections" "$1" - 4 %.0f)$(if [ "$1" = remote ]; then misses "$size/$connections" remote; fi)" \
      "$(ratio "$size/same" "$1" - 5 %.0f)" "$(ratio "$size/same" "$1" bridge 5 %.2f)"
  done
}

# Prints the row of one way to miss: `miss_row SUBJECT TITLE`.
miss_row() {
  local delay
  printf '| %s |' "$2"
  for delay in 0 5; do
    printf ' %s | %s | %s | %s |' "$(ratio "miss/$delay" "$1" - 5 %.0f)" "$(ratio "miss/$delay" "$1" off 5 %.3f)" \
      "$(ratio "miss/$delay" "$1" lookups 5 %.3f)" "$(ratio "miss/$delay" "$1" - 8 %.0f)"
  done
  echo
}

# Prints the result as Markdown.
redis_table() {
  cat <<HEAD
# What a hit of the remote store costs

$(circumstances "origin, Redis and webdis")

Neither worker nor node keep anything, so what is asked for comes from Redis: each connection asks for another of $URLS URLs, or, in the
last two columns, all for the same one. Ratios are to the same Envoy without the filter that proxies the same records from webdis, in the
same round. Sought with one connection: a median latency of at most 1.25; with $connections: requests/s of at least 1.10, 0.90 and 1.00.

| answers | p50 with 1 connection, µs | of proxying | p50 with $connections, µs | of proxying | requests/s with $connections | of proxying | Envoy's µs for a request | the same URL: requests/s | of proxying |
|---|---|---|---|---|---|---|---|---|---|
HEAD
  remote_row bridge "Envoy as a proxy of webdis"
  remote_row remote "Selvage, hit of the remote store"
  remote_row fetch "Envoy as a proxy of the origin"
  cat <<HEAD

Misses of 10 kB, each of another URL, with the stores of worker and node as they are by default; the origin answers at once (the
server's core is then fully used) or after 5 ms. What sending costs is the last row beside the one above it. Sought: at least 0.97.

| misses | requests/s | of off | of asking only | p50, µs | 5 ms: requests/s | of off | of asking only | p50, µs |
|---|---|---|---|---|---|---|---|---|
HEAD
  miss_row off "without the remote store"
  miss_row lookups "asks, sends nothing"
  miss_row replicates "asks and sends"
  printf '\nThe counters of "asks and sends", summed over the rounds: %s.\n' \
    "$(sed 's/^[0-9]* //' "$SCRATCH/sent" | awk -F ': ' '{ sum[$1] += $2 } END { for (name in sum) print name " " sum[name] }' |
      sort | paste -sd, | sed 's/,/, /g')"
}
