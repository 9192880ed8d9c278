# shellcheck shell=bash
# What a hit costs beside what else would stand between Envoy's clients and an origin: Envoy's cache filter, or nginx, Varnish or
# Traffic Server behind Envoy. Part of envoy/bench, which sources it.

PEERS=(nginx varnish trafficserver)
PATHS=(selvage native behind-nginx behind-varnish behind-trafficserver)
BESIDE=(direct "${PATHS[@]}" "${PEERS[@]}")
# For the question of memory: so many responses of so many bytes.
OBJECTS=50000
OBJECT_BYTES=2000
# Which processes answer a subject's requests, and where they keep responses outside of their memory.
declare -A PROCESSES FILES

# Prints processes with their children, and those of the children.
family() {
  local pid children
  for pid in "$@"; do
    echo "$pid"
    children=$(cat "/proc/$pid/task/"*/children 2>/dev/null || true)
    # shellcheck disable=SC2086
    if [ -n "$children" ]; then family $children; fi
  done
}

# Starts nginx in front of the origin.
start_nginx() {
  local folder="$SCRATCH/nginx" port
  port=$(unused_port)
  mkdir -p "$folder"
  cat >"$folder/nginx.conf" <<NGINX
daemon off; worker_processes 1; user $(id -un); pid $folder/pid;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;
  open_file_cache max=500 inactive=300s; open_file_cache_valid 300s;
  proxy_cache_path $folder/cache levels=1:2 keys_zone=bench:32m max_size=512m inactive=1d use_temp_path=off;
  upstream origin { server 127.0.0.1:${PORT[origin]}; keepalive 64; }
  server {
    listen 127.0.0.1:$port;
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$http_host;
      proxy_cache bench; proxy_cache_key \$http_host\$request_uri; proxy_cache_lock on;
    }
  }
}
NGINX
  listen nginx "$port" nginx -c "$folder/nginx.conf" -p "$folder" -e stderr
  PORT[nginx]=$port FILES[nginx]="$folder/cache"
}

# Starts Varnish in front of the origin.
start_varnish() {
  local folder="$SCRATCH/varnish" port
  port=$(unused_port)
  mkdir -p "$folder"
  printf 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "%s"; }\n' "${PORT[origin]}" >"$folder.vcl"
  listen varnish "$port" varnishd -F -j none -n "$folder" -f "$folder.vcl" -a "127.0.0.1:$port" -T none \
    -s malloc,512m -p thread_pools=1 -p timeout_idle=300
  PORT[varnish]=$port
}

# Starts Traffic Server in front of the origin.
start_trafficserver() {
  local folder="$SCRATCH/trafficserver" port name
  port=$(unused_port)
  mkdir -p "$folder/conf" "$folder/run" "$folder/log" "$folder/cache"
  for name in plugin.config ssl_multicert.config cache.config hosting.config parent.config volume.config; do
    : >"$folder/conf/$name"
  done
  cat >"$folder/runroot.yaml" <<LAYOUT
prefix: /usr
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
includedir: /usr/include
sysconfdir: $folder/conf
datadir: $folder/cache
cachedir: $folder/cache
localstatedir: $folder/run
runtimedir: $folder/run
logdir: $folder/log
LAYOUT
  cat >"$folder/conf/records.config" <<RECORDS
CONFIG proxy.config.http.server_ports STRING $port:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.cache.ram_cache.size INT 536870912
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 300
CONFIG proxy.config.http.wait_for_cache INT 1
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.crash_log_helper STRING NULL
RECORDS
  cat >"$folder/conf/ip_allow.yaml" <<ALLOW
ip_allow:
  - { apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL }
ALLOW
  echo "map / http://127.0.0.1:${PORT[origin]}/" >"$folder/conf/remap.config"
  echo "$folder/cache 1G" >"$folder/conf/storage.config"
  listen trafficserver "$port" traffic_server "--run-root=$folder/runroot.yaml"
  PORT[trafficserver]=$port FILES[trafficserver]="$folder/cache"
}

# Starts all processes of a round: the origin on core 1, everything between it and the load on core 0.
start_beside_subjects() {
  local size name peer base="$root/envoy/bootstrap/local.yaml" shared
  local SIZES=("${SIZES[@]}" "$OBJECT_BYTES")
  make_bodies
  direct_routes >"$SCRATCH/routes"
  native_filter >"$SCRATCH/native"
  PROCESSES=() FILES=()
  start_origin
  shared=("${marks[@]}")
  marks+=("ORIGIN_PORT=${PORT[origin]}")
  subject direct < <(variant filters "$SCRATCH/none" <"$base" | variant routes "$SCRATCH/routes")
  subject native < <(variant filters "$SCRATCH/native" <"$base")
  # A bucket holds eight: the default of 4096 would not hold all the small ones.
  marks+=("CONFIG=$(quoted '{"node":{"buckets":16384}}')")
  subject selvage <"$base"
  for peer in "${PEERS[@]}"; do
    "start_$peer"
    marks=("${shared[@]}" "ORIGIN_PORT=${PORT[$peer]}")
    subject "behind-$peer" < <(variant filters "$SCRATCH/none" <"$base")
  done
  for name in direct native selvage; do PROCESSES[$name]=${PID[$name]}; done
  for peer in "${PEERS[@]}"; do
    PROCESSES[$peer]=$(family "${PID[$peer]}" | tr '\n' ' ')
    PROCESSES[behind-$peer]="${PID[behind-$peer]} ${PROCESSES[$peer]}"
    FILES[behind-$peer]=${FILES[$peer]:-}
  done
}

# Fills every cache, makes sure that all answer the same bytes, and lets every subject run its code once.
warm_up_beside() {
  local name size
  for name in "${BESIDE[@]}"; do
    for size in "${SIZES[@]}"; do
      fetch "${PORT[$name]}" "/$size" >/dev/null
      fetch "${PORT[$name]}" "/$size" | tail -c "$size" | cmp -s - "$SCRATCH/body-$size" ||
        fail "$name answered /$size with another body than the origin's"
    done
    load "$name" "${SIZES[0]}" 1
  done
}

# Measures all rounds: processor time with all connections, latency with one.
measure_beside() {
  local round size
  if ! { have nginx && have varnishd && have traffic_server; }; then
    apt_install_unstarted "for --beside" nginx-light varnish trafficserver
  fi
  for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    start_beside_subjects
    warm_up_beside
    for size in "${SIZES[@]}"; do measure_each "$round" "$size" "$size" "${BESIDE[@]}"; done
    connections=1 measure_each "$round" 10000 one/10000 "${BESIDE[@]}"
    if [ "$round" -eq "$rounds" ]; then measure_memory; fi
    stop_subjects
  done
}

# Prints the MiB that a subject's processes hold, shared pages divided among those that share them, and their files on tmpfs.
held() {
  local pid kib=0 more
  for pid in ${PROCESSES[$1]}; do
    more=$(awk '$1 == "Pss:" { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || true)
    kib=$((kib + ${more:-0}))
  done
  if [ -n "${FILES[$1]:-}" ]; then
    more=$(du -sk "${FILES[$1]}" | cut -f 1)
    kib=$((kib + more))
  fi
  echo $((kib / 1024))
}

# Asks a subject once for each of the many responses.
sweep() {
  cat >"$SCRATCH/sweep.lua" <<LUA
local asked, answered, wrong = 0, 0, 0
request = function()
  asked = asked + 1
  return wrk.format("GET", "/$OBJECT_BYTES?n=" .. (asked - 1) % $OBJECTS)
end
response = function(status)
  answered = answered + 1
  if status ~= 200 then wrong = wrong + 1 end
  -- There is no other way to end before the time is over.
  if answered == $OBJECTS then os.exit(wrong == 0 and 0 or 1) end
end
LUA
  local status=0
  taskset -c 1 timeout 60 wrk -t 1 -c 16 -d 60s -s "$SCRATCH/sweep.lua" "http://127.0.0.1:${PORT[$1]}" >"$SCRATCH/sweep" 2>&1 || status=$?
  # wrk has figures of its own to tell only when its time is over.
  if [ "$status" -ne 0 ] || grep -q '^Requests/sec' "$SCRATCH/sweep"; then
    fail "$1 did not answer $OBJECTS requests well within a minute (status $status)"
  fi
}

# Measures what many small responses cost in memory. Appends `subject processes MiB-before MiB-after hits` to the file `memory`.
measure_memory() {
  local name before after sent
  local pids
  say "storing $OBJECTS responses in each"
  for name in "${PATHS[@]}"; do
    before=$(held "$name")
    sweep "$name"
    # Some write behind.
    sleep 1
    after=$(held "$name")
    sent=$(forwarded "$name")
    sweep "$name"
    sent=$(($(forwarded "$name") - sent))
    read -ra pids <<<"${PROCESSES[$name]}"
    echo "$name ${#pids[@]} $before $after $((OBJECTS - sent))" >>"$SCRATCH/memory"
  done
}

# Prints what a subject is called.
beside_title() {
  case $1 in
    direct) echo "Envoy's \`direct_response\`, for scale" ;;
    native) echo "Envoy with its cache filter" ;;
    selvage) echo "Envoy with Selvage" ;;
    nginx) echo nginx ;;
    varnish) echo Varnish ;;
    trafficserver) echo "Traffic Server" ;;
    behind-*) echo "Envoy in front of $(beside_title "${1#behind-}")" ;;
  esac
}

# Prints the row of a subject.
beside_row() {
  local size title
  title=$(beside_title "$1")
  if [[ " ${PEERS[*]} " == *" $1 "* ]]; then title+=" alone"; fi
  printf '| %s |' "$title"
  for size in "${SIZES[@]}"; do
    printf ' %s%s |' "$(ratio "$size" "$1" selvage 4 %.2f)" "$(misses "$size" "$1")"
  done
  for size in "${SIZES[@]}"; do printf ' %s |' "$(ratio "$size" "$1" - 4 %.1f)"; done
  printf ' %s | %s |\n' "$(ratio one/10000 "$1" - 8 %.0f)" "$(ratio one/10000 "$1" - 9 %.0f)"
}

# Prints the versions of those that are compared with.
peer_versions() {
  printf 'nginx %s, Varnish %s, Traffic Server %s' "$(nginx -v 2>&1 | sed -n 's,.*nginx/\([0-9.]*\).*,\1,p')" \
    "$(varnishd -V 2>&1 | sed -n 's,.*varnish-\([0-9.]*\).*,\1,p' | head -n 1)" \
    "$(traffic_server -V 2>&1 | sed -n 's,.*traffic_server - \([0-9.]*\).*,\1,p')"
}

# Prints the result as Markdown.
beside_table() {
  local name count before after hits
  cat <<HEAD
# What a hit costs beside the others

$(circumstances "the origin")
$(peer_versions).

Processor time for a request, of all processes that answer it; the ratio is to Envoy with Selvage in the same round. Latency is that
of one connection at 10 kB, where the next request follows the answer.

| answers | 1 kB | 10 kB | 100 kB | 1 kB, µs | 10 kB, µs | 100 kB, µs | p50, µs | p99, µs |
|---|---|---|---|---|---|---|---|---|
HEAD
  for name in "${BESIDE[@]}"; do beside_row "$name"; done
  cat <<HEAD

Memory of all processes (PSS, and what their caches hold on a tmpfs) before and after $OBJECTS responses of $OBJECT_BYTES bytes, and how many
of them a second pass found. All have stored a few larger ones before.

| caches | processes | before, MiB | after, MiB | more, MiB | found |
|---|---|---|---|---|---|
HEAD
  while read -r name count before after hits; do
    printf '| %s | %s | %s | %s | %s | %.1f %% |\n' "$(beside_title "$name")" "$count" "$before" "$after" $((after - before)) \
      "$(awk -v hits="$hits" -v all="$OBJECTS" 'BEGIN { print 100 * hits / all }')"
  done <"$SCRATCH/memory"
  cat <<'HEAD'

Settings, so that nobody is held back: every Envoy as in the other benches, in front of the others without a filter; one worker process
of nginx, one thread pool of Varnish, one event thread of Traffic Server, all on the same core as the Envoy in front of them; connections
kept open on all sides; no access log. nginx: `sendfile`, `open_file_cache`, `proxy_cache_lock`, its files on a tmpfs, in blocks of 4 kB.
Varnish: built-in VCL, `malloc` of 512 MiB, its log in shared memory as always. Traffic Server: 512 MiB of RAM cache, and its store of
1 GiB on a tmpfs, which has everything once more. Selvage: the defaults, but `node.buckets` 16384, since a bucket holds eight responses
and 4096 are too few for so many; what is in the worker's store is in the node's once more. Envoy's cache filter has no bound.
HEAD
}
