# shellcheck shell=bash
# Redis, Redis Cluster and webdis for the commands of this folder. Source it after envoy/lib/setup.sh and envoy/lib/serve.sh.
# Secrets are new at every start, stand only in files of the scratch folder that nobody else can read, and are given to
# redis-cli by the environment: none is ever an argument, which every process of the machine could see.

NODES=6
# What the user of Redis may run: what the filter needs, and nothing else.
# Those of the second line are of jobs.
USED_COMMANDS="-@all +get +set +setex +del +eval +evalsha +time +ping \
+hset +hmget +hdel +exists +persist +pexpire +zadd +zrem +zcard +zcount +zrangebyscore +zrevrange +zremrangebyscore"

# What `tell` prints of what was started here.
redis_lines=()

# Prints a new secret.
secret() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Writes stdin to a file that only its owner reads.
private_file() { (umask 077 && cat >"$1"); }

# Prints `remote.prefix` of a configuration: what every key begins with.
prefix_of() {
  local pattern='"prefix"[[:space:]]*:[[:space:]]*"([A-Za-z0-9_.-]+)"'
  if [[ $1 =~ $pattern ]]; then echo "${BASH_REMATCH[1]}"; else echo selvage; fi
}

# Prints a port of 127.0.0.1 that nothing listens on.
free_port() {
  local candidate
  while candidate=$((20000 + RANDOM % 12000)) && port_taken "$candidate"; do :; done
  echo "$candidate"
}

# Prints a free port for a cluster's node, which also listens on the port 10000 above it.
free_node_port() {
  local candidate
  while candidate=$((10001 + RANDOM % 9000)) && { port_taken "$candidate" || port_taken $((candidate + 10000)); }; do :; done
  echo "$candidate"
}

# Waits until something listens on a port: `await_port PORT NAME LOG`.
await_port() {
  local deadline=$((SECONDS + 10))
  until port_taken "$1"; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "${started:?}" 2>/dev/null; then
      fail "$2 did not start: $(tail -n 1 "$3")"
    fi
    sleep 0.05
  done
}

# Starts a redis-server whose data live in memory only: `start_redis_server PORT`, more of its configuration on stdin.
start_redis_server() {
  local folder="$SCRATCH/redis-$1"
  mkdir -p "$folder"
  private_file "$folder/redis.conf" < <(
    cat <<CONF
bind 127.0.0.1
port $1
dir $folder
save ""
appendonly no
# When it is full, what was not used for longest makes room.
maxmemory 256mb
maxmemory-policy allkeys-lru
CONF
    cat
  )
  start "$folder/log" redis-server "$folder/redis.conf"
  await_port "$1" Redis "$folder/log"
}

# Starts webdis on a free port, which is then in `bridge`: `start_webdis REDIS_HOST REDIS_PORT PASSWORD`, the password may be empty.
#
# Only the commands that the filter uses, and only from this machine. For a bridge that others reach, ask for credentials:
# put `"http_basic_auth": "USER:PASSWORD"` in the place of `"ip"`, and let Envoy send them (bootstrap/redis-tls.yaml).
# webdis keeps `pool_size` connections to Redis for each of its `threads`; it has no time-out for an answer of Redis and
# needs none: the filter waits for `remote.timeout`. The pool is odd because webdis passes over every other connection of an
# even one. The connections between Envoy and webdis are Envoy's: cluster `redis` of bootstrap/local.yaml.
start_webdis() {
  local auth=null
  bridge=$(free_port)
  if [ -n "$3" ]; then auth=$(quoted "$3"); fi
  private_file "$SCRATCH/webdis.json" <<WEBDIS
{
  "redis_host": $(quoted "$1"), "redis_port": $2, "redis_auth": $auth, "database": 0,
  "http_host": "127.0.0.1", "http_port": $bridge, "http_max_request_size": 33554432,
  "threads": 1, "pool_size": 9, "daemonize": false, "verbosity": 1, "logfile": "$SCRATCH/webdis.log",
  "acl": [{ "disabled": ["*"] }, { "ip": "127.0.0.1/32", "enabled": ["GET", "SET", "SETEX", "DEL", "EVAL", "EVALSHA", "PING"] }]
}
WEBDIS
  start "$SCRATCH/webdis.out" webdis "$SCRATCH/webdis.json"
  await_port "$bridge" webdis "$SCRATCH/webdis.out"
}

# Waits some seconds until webdis reaches Redis and says that there is no such key: `await_bridge PREFIX SECONDS`.
# When it does not, it shows the last line that webdis answered.
await_bridge() {
  local deadline=$((SECONDS + $2)) answer said=
  until answer=$(ask_bridge "$1") && [[ $answer == "HTTP/1.1 404"* ]]; do
    said=${answer:-$said}
    if [ "$SECONDS" -ge "$deadline" ]; then
      said=$(tail -n 1 <<<"$said")
      say "Redis does not answer webdis${said:+ but with \`$said\`}: are address, user and password right?"
      return 1
    fi
    sleep 0.2
  done
}

# Prints what webdis answers for a key that is never there. A webdis that has just started may take a request and never
# answer it, so this waits no longer than a second.
ask_bridge() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$bridge" || exit 1
    printf 'GET /GET/%s:probe.bin HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$1" >&3
    while IFS= read -t 1 -r line || [ -n "$line" ]; do printf '%s\n' "${line%$'\r'}"; done <&3
  ) 2>/dev/null
}

# Starts Redis and webdis on free ports: `start_redis PREFIX`.
start_redis() {
  local port password
  if ! have redis-server || ! have webdis; then apt_install "for --redis" redis-server webdis; fi
  port=$(free_port)
  password=$(secret)
  # webdis 0.1.9 logs in with a password and no user name, which is the user `default`.
  start_redis_server "$port" <<CONF
user default reset on >$password ~$1:* $USED_COMMANDS
CONF
  redis_lines+=("redis-node 127.0.0.1:$port $started master")
  start_webdis 127.0.0.1 "$port" "$password"
  await_bridge "$1" 15 || fail "Redis did not start: $(tail -n 1 "$SCRATCH/redis-$port/log")"
}

# Runs redis-cli as the administrator of our own cluster, by a node's port: `cluster_cli PORT ARGUMENT...`.
cluster_cli() {
  local port=$1
  shift
  REDISCLI_AUTH=$cluster_password redis-cli -h 127.0.0.1 -p "$port" --user admin --no-auth-warning "$@"
}

# Starts a Redis Cluster of three masters and three replicas, an Envoy that finds the right node, and webdis on it:
# `start_redis_cluster PREFIX`.
start_redis_cluster() {
  local prefix=$1 ports=() pids=() addresses=() port number user_password
  if ! have redis-server || ! have redis-cli || ! have webdis; then
    apt_install "for --redis-cluster" redis-server redis-tools webdis
  fi
  user_password=$(secret)
  cluster_password=$(secret)
  say "starting a Redis Cluster of $NODES nodes"
  for ((number = 0; number < NODES; number++)); do
    port=$(free_node_port)
    # A master that is silent for cluster-node-timeout is replaced: 1.5 s find a dead one soon, and are far more than a pause
    # on one machine; between data centres take Redis' own 15 s. Meanwhile the other slots go on. A replica is always good
    # enough to take over, however old: it is a cache. A replica follows its new master at once, not after 5 s.
    start_redis_server "$port" <<CONF
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 1500
cluster-require-full-coverage no
cluster-allow-reads-when-down no
cluster-replica-validity-factor 0
repl-diskless-sync yes
repl-diskless-sync-delay 0
user default reset off
user admin reset on >$cluster_password ~* &* +@all
user selvage reset on >$user_password ~$prefix:* $USED_COMMANDS +cluster|slots +readonly +asking
masteruser admin
masterauth $cluster_password
CONF
    ports+=("$port")
    pids+=("$started")
    addresses+=("127.0.0.1:$port")
  done
  quietly cluster_cli "${ports[0]}" --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes ||
    fail "the Redis Cluster did not form: the lines above say why"
  await_cluster "${ports[@]}"
  for ((number = 0; number < NODES; number++)); do
    redis_lines+=("redis-node ${addresses[number]} ${pids[number]} $(role_of "${ports[number]}")")
  done
  private_file "$SCRATCH/redis.password" < <(printf %s "$user_password")
  start_redis_proxy redis-cluster "NODE_1=${ports[0]}" "NODE_2=${ports[1]}" "NODE_3=${ports[2]}"
  await_bridge "$prefix" 15 || fail "Envoy's proxy for Redis does not answer: $(tail -n 1 "${envoy_log:?}")"
}

# Prints `master` or `replica`: the role of our cluster's node with this port.
role_of() { cluster_cli "$1" role | sed -n '1{s/slave/replica/;p;}'; }

# Waits until every node of our cluster knows that all slots are served, and every replica has its master's data.
await_cluster() {
  local deadline=$((SECONDS + 60)) port masters=0 ready=0
  until [ "$ready" -eq "$NODES" ] && [ "$masters" -eq $((NODES / 2)) ]; do
    ready=0 masters=0
    for port in "$@"; do
      if ! cluster_cli "$port" cluster info | grep -q '^cluster_state:ok'; then continue; fi
      case $(cluster_cli "$port" info replication | tr -d '\r' | grep -E '^(role|master_link_status):' | tr '\n' ' ') in
        "role:master ") ready=$((ready + 1)) masters=$((masters + 1)) ;;
        "role:slave master_link_status:up ") ready=$((ready + 1)) ;;
      esac
    done
    if [ "$SECONDS" -ge "$deadline" ]; then fail "the Redis Cluster was not ready within a minute"; fi
    sleep 0.05
  done
}

# Starts Envoy's proxy for Redis on a free port, and webdis on it: `start_redis_proxy BOOTSTRAP MARKER=VALUE...`.
# Takes the binary from `envoy`, and what it logs in to Redis with from redis.password in the scratch folder.
start_redis_proxy() {
  local bootstrap=$1 password proxy_port
  shift
  password=$(secret)
  private_file "$SCRATCH/redis-proxy.password" < <(printf %s "$password")
  substitute "${root:?}/envoy/bootstrap/$bootstrap.yaml" PORT=0 ADMIN_PORT=0 "$@" \
    "PROXY_PASSWORD=$(quoted "$SCRATCH/redis-proxy.password")" \
    "REDIS_PASSWORD=$(quoted "$SCRATCH/redis.password")" >"$SCRATCH/$bootstrap.yaml"
  launch "$bootstrap" "$SCRATCH/$bootstrap.yaml" 1 || fail "Envoy's proxy for Redis did not start; the lines above say why"
  proxy_port=$(listener_port "${admin_port:?}" redis)
  [ -n "$proxy_port" ] || fail "Envoy's proxy for Redis does not listen: $(tail -n 1 "${envoy_log:?}")"
  redis_lines+=("redis-proxy 127.0.0.1:$proxy_port" "redis-proxy-admin http://127.0.0.1:$admin_port")
  start_webdis 127.0.0.1 "$proxy_port" "$password"
}

# Takes a Redis URL apart into `redis_tls`, `redis_user`, `redis_password`, `redis_host` and `redis_port`.
# The password may also stand in REDISCLI_AUTH, where other users of this machine do not see it.
read_redis_url() {
  local pattern='^redis(s?)://(([^:@/]*):([^@/]*)@)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:([0-9]{1,5}))?(/0?)?$'
  # The URL may hold a password: it is never repeated.
  [[ $1 =~ $pattern ]] || fail "--redis-url takes redis://[USER:PASSWORD@]HOST[:PORT], or rediss:// for TLS, and only database 0"
  redis_tls=${BASH_REMATCH[1]:+yes}
  redis_user=$(decoded "${BASH_REMATCH[3]}")
  redis_password=$(decoded "${BASH_REMATCH[4]}")
  redis_host=${BASH_REMATCH[5]//[\[\]]/}
  redis_port=${BASH_REMATCH[7]:-6379}
  number --redis-url "$redis_port" 1 65535
  if [ -z "$redis_password" ]; then redis_password=${REDISCLI_AUTH:-}; fi
  if [ -n "$redis_user" ] && [ -z "$redis_password" ]; then fail "--redis-url names a user without a password"; fi
}

# Prints text with its %XX decoded.
decoded() {
  local text=${1//\\/\\\\}
  printf '%b' "${text//%/\\x}"
}

# Starts webdis on the user's own Redis: `use_redis PREFIX`, after `read_redis_url`.
use_redis() {
  local marks
  if ! have webdis; then apt_install "for --redis-url" webdis; fi
  if [ -z "$redis_tls" ] && { [ -z "$redis_user" ] || [ "$redis_user" = default ]; }; then
    start_webdis "$redis_host" "$redis_port" "$redis_password"
  else
    # webdis 0.1.9 speaks no TLS and sends no user name; Envoy does both for it.
    marks=("REDIS_HOST=$(quoted "$redis_host")" "REDIS_PORT=$redis_port")
    if [ -n "$redis_password" ]; then
      private_file "$SCRATCH/redis.password" < <(printf %s "$redis_password")
      marks+=(LOGIN=1 "REDIS_USER=$(quoted "${redis_user:-default}")")
    fi
    if [ -n "$redis_tls" ]; then marks+=(TLS=1 "REDIS_SNI=$(quoted "$redis_host")" "CA=$(quoted "$(certificates)")"); fi
    start_redis_proxy redis-proxy "${marks[@]}"
  fi
  # Requests do not depend on Redis, and it may come later.
  await_bridge "$1" 5 || say "starting all the same"
}

# Runs redis-cli on a node of the user's Redis: `own_cli HOST PORT ARGUMENT...`, after `read_redis_url`.
own_cli() {
  local host=$1 port=$2 login=()
  shift 2
  if [ -n "$redis_user" ]; then login+=(--user "$redis_user"); fi
  if [ -n "$redis_tls" ]; then login+=(--tls --cacert "$(certificates)" --sni "$redis_host"); fi
  if [ -n "$redis_password" ]; then export REDISCLI_AUTH=$redis_password; fi
  redis-cli -h "$host" -p "$port" ${login[@]+"${login[@]}"} --no-auth-warning "$@"
}

# Deletes every key of a prefix from the user's Redis, on each master when it is a cluster, and prints how many there were.
# Other keys are not touched. `flush PREFIX`, after `read_redis_url`.
flush() {
  local prefix=$1 info nodes host port keys_at_once=500 deleted total=0
  have redis-cli || apt_install "for --flush" redis-tools
  info=$(own_cli "$redis_host" "$redis_port" cluster info 2>&1) || true
  nodes="$redis_host $redis_port"
  if [[ $info == *cluster_state:* ]]; then
    # Keys of one command must be in one slot.
    keys_at_once=1
    nodes=$(own_cli "$redis_host" "$redis_port" cluster nodes |
      sed -nE 's/^[0-9a-f]+ ([^ ]*):([0-9]+)@[^ ]* ([a-z]+,)*master [^ ]*( [^ ]+){4}( .*)?$/\1 \2/p')
    [ -n "$nodes" ] || fail "the Redis Cluster names no masters"
  fi
  while read -r host port; do
    deleted=$(flush_node "${host:-$redis_host}" "$port") || exit 1
    total=$((total + deleted))
  done <<<"$nodes"
  echo "deleted $total"
}

# Deletes the keys of one node in batches and prints how many there were. Uses `prefix` and `keys_at_once` of `flush`.
flush_node() {
  local answers complaints="$SCRATCH/complaints"
  answers=$(own_cli "$1" "$2" --scan --pattern "$prefix:*" 2>"$complaints" |
    awk -v most="$keys_at_once" '
      # A key with other characters is none of ours.
      /[^A-Za-z0-9:_.-]/ || $0 == "" { next }
      { line = line " " $0; if (++count == most) { print "UNLINK" line; line = ""; count = 0 } }
      END { if (count) print "UNLINK" line }' |
    own_cli "$1" "$2" 2>>"$complaints") || true
  # What redis-cli prints is a number for each command, and an empty line at the end.
  grep -vE '^[0-9]*$' <<<"$answers" >>"$complaints" || true
  if [ -s "$complaints" ]; then
    fail "the keys of Redis at $1:$2 cannot be deleted (its user needs SCAN and UNLINK): $(head -n 1 "$complaints")"
  fi
  awk '{ sum += $1 } END { print sum + 0 }' <<<"$answers"
}
