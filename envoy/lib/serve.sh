# shellcheck shell=bash
# Starting, watching and stopping processes. Source it after envoy/lib/setup.sh.

STARTED=()
SCRATCH=

# Makes the folder for what lives only as long as the script, and sees to it that everything is cleared away at the end.
begin() {
  SCRATCH=$(mktemp -d)
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
}

# Stops everything that was started, waits for it, and removes the scratch folder.
finish() {
  local status=$? pid
  trap '' INT TERM HUP
  trap - EXIT
  for pid in "${STARTED[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${STARTED[@]}"; do stop_within 5 "$pid"; done
  if [ -n "$SCRATCH" ]; then rm -rf "$SCRATCH"; fi
  exit "$status"
}

# Waits for a child that has been told to stop, and ends it by force after some seconds.
stop_within() {
  local tenths=$(($1 * 10)) pid=$2
  while [ "$tenths" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# Starts a child with its output in a file; its process id is in `started`. It ends with this script, however that ends.
start() {
  local log=$1 bound=()
  shift
  if have setpriv && setpriv --pdeathsig TERM true 2>/dev/null; then bound=(setpriv --pdeathsig TERM --); fi
  ${PINNED[@]+"${PINNED[@]}"} ${bound[@]+"${bound[@]}"} "$@" >"$log" 2>&1 </dev/null &
  started=$!
  STARTED+=("$started")
}

# True when something listens on a port of 127.0.0.1.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints the body and head that a local server answers to a GET; needs no curl.
fetch() {
  local port=$1 path=$2
  (
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$path" "$port" >&3
    cat <&3
  ) 2>/dev/null
}

# Copies a bootstrap, with `MARKER=value` pairs replacing the values on the lines that end in the marker.
# `TLS=1` uncomments the lines that begin with `#tls `, `REDIS=1` those with `#redis `, `LOGIN=1` those with `#login `.
substitute() {
  local from=$1 line pair marker
  shift
  while IFS= read -r line || [ -n "$line" ]; do
    for pair in "$@"; do
      marker=${pair%%=*}
      if [ "$pair" = TLS=1 ]; then
        line=${line/'#tls '/}
      elif [ "$pair" = REDIS=1 ]; then
        line=${line/'#redis '/}
      elif [ "$pair" = LOGIN=1 ]; then
        line=${line/'#login '/}
      elif [[ $line == *" # SELVAGE_$marker" ]]; then
        line="${line%%: *}: ${pair#*=} # SELVAGE_$marker"
      fi
    done
    printf '%s\n' "$line"
  done <"$from"
}

# Prints text as a YAML scalar in double quotes, so that Envoy hands it to the filter exactly as it was written.
quoted() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\r'/\\r}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# Starts Envoy with a bootstrap and waits until it is ready: `launch NAME BOOTSTRAP CONCURRENCY`.
# Takes the binary from `envoy`, and a minute, or as many seconds as READY_WITHIN says. Sets `started`, `admin_port`, `envoy_log`, and `log_before`: bytes of the log from before it was ready.
# Its own words are shown when it does not come up.
launch() {
  local name=$1 bootstrap=$2 concurrency=$3 address_file="$SCRATCH/$1.admin" deadline=$((SECONDS + ${READY_WITHIN:-60}))
  envoy_log="$SCRATCH/$name.log"
  rm -f "$address_file"
  : >"$envoy_log"
  start "$envoy_log" "${envoy:?}" --config-path "$bootstrap" --concurrency "$concurrency" --log-level warning --component-log-level wasm:info \
    --disable-hot-restart --admin-address-path "$address_file"
  admin_port=
  while :; do
    if ! kill -0 "$started" 2>/dev/null; then
      say "what Envoy said:"
      grep -v work-in-progress "$envoy_log" | tail -n 40 >&2 || true
      return 1
    fi
    if [ -z "$admin_port" ] && [ -s "$address_file" ]; then admin_port=$(sed 's/.*://' "$address_file"); fi
    log_before=$(wc -c <"$envoy_log")
    if [ -n "$admin_port" ] && fetch "$admin_port" /ready | grep -q '^LIVE'; then return 0; fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "Envoy was not ready within ${READY_WITHIN:-60} s; what it said:"
      tail -n 15 "$envoy_log" >&2
      return 1
    fi
    sleep 0.05
  done
}

# Prints the port that a listener of the Envoy with this admin port took.
listener_port() { fetch "$1" /listeners | tr -d '\r' | sed -n "s/^$2::.*:\([0-9]*\)\$/\1/p" | head -n 1; }
