# shellcheck shell=bash
# How many instructions the Envoy process executes for a request, counted by valgrind, and the same of the engine alone. Part of
# envoy/bench, which sources it.
#
# A count repeats where a time shakes: it does not depend on what else the machine does, nor on where a process lies in memory.
# It does not see caches and branches, so times have the last word.

# Requests that are counted for a row; before them, some that are not.
COUNTED=400
WARMING=100
# So many ask for the same new URL at once, and so often.
HERD=16
HERDS=15
# Seconds without requests, for what the process does by itself, and until it has done what it puts off to its next tick.
IDLE=5
SETTLING=0.5
# What the test command compares with, and by how much a figure may grow.
FIGURES="$root/envoy/instructions.json"
GROWTH=1.03
# A reference of the engine's that is further off than this was built or run by something else.
LIKENESS=0.005
declare -A KI FIGURE

# Prints the origin's routes: those of the other benches, a response that is soon stale, and JSON.
instruction_routes() {
  direct_routes
  json_route stale "max-age=1, stale-while-revalidate=86400" application/octet-stream "$SCRATCH/body-1000"
  json_route bypass "public, max-age=86400" application/octet-stream "$SCRATCH/body-1000"
  json_route json "public, max-age=86400" application/json "$SCRATCH/json-10000"
}

# Prints a route: `json_route PATH CACHE-CONTROL TYPE FILE`.
json_route() {
  cat <<ROUTE
                        - match: { path: "/$1" }
                          response_headers_to_add:
                            - header: { key: cache-control, value: "$2" }
                            - header: { key: etag, value: '"bench"' }
                            - header: { key: content-type, value: $3 }
                              append_action: OVERWRITE_IF_EXISTS_OR_ADD
                          direct_response: { status: 200, body: { filename: "$4" } }
ROUTE
}

# Prints the origin's filters: one waits as long as a request says, the other lets no refresh come back, so that what is stale
# stays stale.
instruction_filters() {
  delay_filter
  cat <<'FILTER'
                  - name: stuck
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
                      headers: [{ name: if-none-match, present_match: true }]
                      delay: { fixed_delay: 600s, percentage: { numerator: 100 } }
FILTER
}

# Makes sure that valgrind is there, and makes the program that is started in Envoy's place.
prepare_counting() {
  { have valgrind && have callgrind_control; } || apt_install "to count instructions" valgrind
  # V8 writes its code while it runs, outside of any file.
  cat >"$SCRATCH/counted" <<COUNTED
#!/bin/sh
exec valgrind --tool=callgrind --smc-check=all-non-file --instr-atstart=no --callgrind-out-file=/dev/null $(printf %q "$envoy") "\$@"
COUNTED
  chmod 755 "$SCRATCH/counted"
}

# Starts a subject whose instructions can be counted: `counted NAME` reads its bootstrap from stdin. It takes ten times as long as
# any other. Merging histograms every five seconds is no work for a request: it is put off.
counted() {
  PINNED=()
  READY_WITHIN=300 envoy="$SCRATCH/counted" subject "$1" < <(sed 's/^stats_config:/stats_flush_interval: 299s\n&/')
}

# Prints how many instructions all threads of a subject have executed since counting was switched on.
executed() {
  callgrind_control -e -s "${PID[$1]}" 2>/dev/null |
    awk '$1 == "Th" { gsub(",", ""); sum += $3; seen = 1 } END { if (!seen) exit 1; printf "%.0f\n", sum }' ||
    fail "valgrind does not say how many instructions $1 executed"
}

# Asks a subject for something so many times: `request_times SUBJECT TIMES PATH EXPECTED CONNECTIONS [LUA]`. Each answer's
# Cache-Status must contain what is expected; the Lua may say how a request is made of its number `n`.
request_times() {
  local name=$1 times=$2 path=$3 expected=$4 many=$5 make=${6:-} script="$SCRATCH/times.lua" status=0
  cat >"$script" <<LUA
-- wrk makes a request that it does not send, to see what it is like.
local asked, answered, path = -1, 0, "/$path"
local new = "$RANDOM$RANDOM"
wrk.headers["Host"] = "bench.test"
$make
local make = make or function(n) return wrk.format(nil, path) end
request = function()
  asked = asked + 1
  return make(asked - 1, path, new)
end
-- No more than these are sent.
delay = function() return asked >= $times and 1000000 or 0 end
response = function(status, headers)
  answered = answered + 1
  local said = headers["cache-status"] or ""
  if status ~= 200 or not string.find(said, "$expected") then
    io.stderr:write("status " .. status .. ", Cache-Status: " .. said .. "\n")
    os.exit(1)
  end
  -- There is no other way to end before the time is over.
  if answered == $times then os.exit(0) end
end
LUA
  timeout 120 wrk -t 1 -c "$many" -d 120s --timeout 60s -s "$script" "http://127.0.0.1:${PORT[$name]}" >"$SCRATCH/times" 2>&1 ||
    status=$?
  if [ "$status" -ne 0 ] || grep -q '^Requests/sec' "$SCRATCH/times"; then
    fail "$name did not answer /$path as it should, with '$expected' (status $status): $(grep -a '^status' "$SCRATCH/times" | head -n 1)"
  fi
}

# Lua of a request that was never made before, and of one that takes gzip.
NEW='function make(n, path, new) return wrk.format(nil, path .. "?n=" .. new .. "-" .. n) end'
POST='wrk.method = "POST"; wrk.body = "x"'
GZIP='wrk.headers["Accept-Encoding"] = "gzip"'
TOGETHER="wrk.headers[\"x-envoy-fault-delay-request\"] = \"300\"
function make(n, path, new) return wrk.format(nil, path .. \"?n=\" .. new .. \"-\" .. math.floor(n / $HERD)) end"

# Counts a row: `count ROW SUBJECT PATH EXPECTED [LUA] [CONNECTIONS]`. What the process does by itself in the meantime (its ticks) is
# taken off, so that a slow machine counts the same. What is done at the next tick for the requests is theirs. Sets `KI[ROW]`.
count() {
  local row=$1 name=$2 path=$3 expected=$4 make=${5:-} many=${6:-1} times=$COUNTED idle before after rested begun ended
  if [ "$many" -gt 1 ]; then times=$((HERD * HERDS)); fi
  # The first of all may fill a store.
  request_times "$name" 1 "$path" "" 1 "$make"
  if [ "$many" -eq 1 ]; then request_times "$name" "$WARMING" "$path" "$expected" 1 "$make"; fi
  quietly callgrind_control -i on "${PID[$name]}" || fail "valgrind does not count the instructions of $name"
  sleep "$SETTLING"
  idle=$(executed "$name")
  rested=$(date +%s%N)
  sleep "$IDLE"
  before=$(executed "$name")
  begun=$(date +%s%N)
  request_times "$name" "$times" "$path" "$expected" "$many" "$make"
  sleep "$SETTLING"
  after=$(executed "$name")
  ended=$(date +%s%N)
  # In nanoseconds.
  KI[$row]=$(awk -v all=$((after - before)) -v took=$((ended - begun)) -v idle=$((before - idle)) -v slept=$((begun - rested)) \
    -v times="$times" 'BEGIN { printf "%.1f", (all - idle / slept * took) / times / 1000 }')
  quietly callgrind_control -i off "${PID[$name]}"
  say "$row: ${KI[$row]} ki ($times in $(((ended - begun) / 1000000)) ms, $(((before - idle) * 1000000 / (begun - rested))) ki a second by itself)"
}

# Starts the origin, and what the test command counts.
start_checked() {
  local base="$root/envoy/bootstrap/local.yaml"
  make_bodies
  json 10000 >"$SCRATCH/json-10000"
  instruction_routes >"$SCRATCH/routes"
  instruction_filters >"$SCRATCH/stuck"
  native_filter >"$SCRATCH/native"
  : >"$SCRATCH/none"
  marks=("PORT=0" "ADMIN_PORT=0" "WASM=$(quoted "$filter")")
  subject origin < <(variant filters "$SCRATCH/stuck" <"$base" | variant routes "$SCRATCH/routes")
  marks+=("ORIGIN_PORT=${PORT[origin]}")
  counted direct < <(variant filters "$SCRATCH/none" <"$base" | variant routes "$SCRATCH/routes")
  counted plain < <(variant filters "$SCRATCH/none" <"$base")
  counted worker <"$base"
}

# Counts what the test command compares.
count_checked() {
  count direct direct 1000 ""
  count plain plain nostore ""
  count hit worker 1000 "hit.*detail=worker"
  count known worker nostore "fwd="
}

# Counts everything.
measure_instructions() {
  local base="$root/envoy/bootstrap/local.yaml" shared
  if ! have redis-server || ! have webdis; then apt_install "for a hit of the remote store" redis-server webdis; fi
  start_checked
  count_checked
  shared=("${marks[@]}")
  count stale worker stale "hit.*ttl=-"
  count miss worker 1000 "stored" "$NEW"
  count nostore worker nostore "fwd=" "$NEW"
  count post worker 1000 "fwd=method" "$POST"
  count collapsed worker 1000 "fwd=" "$TOGETHER" "$HERD"
  count gzip worker json "hit.*detail=worker" "$GZIP"
  counted native < <(variant filters "$SCRATCH/native" <"$base")
  count native native 1000 ""
  counted floor < <(sed "s|^\( *filename: \).*# SELVAGE_WASM|\1$floor|" "$base")
  count floor floor 1000 "hit"
  marks=("${shared[@]}" "CONFIG=$(quoted '{"worker":{"bytes":"0"}}')")
  counted node <"$base"
  count node node 1000 "hit.*detail=node"
  start_bridge
  # The rule is of no matter to the other path.
  marks=("${shared[@]}" REDIS=1 "BRIDGE_PORT=$bridge_port"
    "CONFIG=$(with_remote "" "$ONLY_REMOTE,\"rules\":[{\"name\":\"bypass\",\"match\":{\"paths\":[\"/bypass\"]},\"bypass\":true}]")")
  counted remote <"$base"
  count bypass remote bypass "fwd=bypass"
  request_times remote 1 1000 "" 1
  # The record is sent at a tick.
  sleep 2
  count remote remote 1000 "hit.*detail=remote"
  stop_subjects
}

# Prints a member of the committed figures: `kept NAME`.
kept() { sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\"]*[^\",]\)\"\{0,1\},\{0,1\}\$/\1/p" "$FIGURES" 2>/dev/null; }

# Counts the engine alone: sets `FIGURE` of `reference`, `hit` and `pass`, in instructions for one.
count_engine() {
  local cargo program name
  ensure_linker
  cargo=$(require_cargo)
  program=$(cd "$root" && "$cargo" bench --quiet --no-run --package selvage-engine --bench instructions --target-dir "$root/target" \
    --message-format json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p') || true
  [ -x "$program" ] || fail "the engine's bench does not build: the compiler's message is above"
  for name in reference hit pass; do
    # Starting costs the same in both.
    FIGURE[$name]=$((($(counted_run "$program" "$name" 3000) - $(counted_run "$program" "$name" 1000)) / 2000))
  done
}

# Prints how many instructions a program executes from its start to its end.
counted_run() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 | sed -n 's/.*Collected : *//p'
}

# Prints the figures as the committed file has them.
figures() {
  cat <<FIGURES
{
  "command": "./envoy/bench --instructions --renew",
  "rustc": "$(compiler)",
  "valgrind": "$(valgrind --version)",
  "envoy": "$(envoy_version "$envoy")",
  "engine_reference": ${FIGURE[reference]},
  "engine_hit": ${FIGURE[hit]},
  "engine_pass": ${FIGURE[pass]},
  "envoy_direct_response_ki": ${KI[direct]},
  "envoy_worker_hit_ki": ${KI[hit]},
  "envoy_plain_ki": ${KI[plain]},
  "envoy_pass_ki": ${KI[known]}
}
FIGURES
}

# Prints the compiler's version.
compiler() { (cd "$root" && "$(dirname "$(require_cargo)")/rustc" --version); }

# Compares one figure: `compare TITLE NOW THEN UNIT`.
compare() {
  if awk -v now="$2" -v then="$3" -v growth="$GROWTH" 'BEGIN { exit !(now <= then * growth) }'; then
    passed=$((passed + 1))
    printf '%s: %s %s, committed %s\n' "$1" "$2" "$4" "$3"
    if awk -v now="$2" -v then="$3" -v growth="$GROWTH" 'BEGIN { exit !(now * growth < then) }'; then
      printf '  it has become less: `./envoy/bench --instructions --renew` keeps the gain\n'
    fi
  else
    failed=$((failed + 1))
    printf '%s: %s %s, committed %s: more than %.0f %% over it. If it must be, `./envoy/bench --instructions --renew` writes it down\n' \
      "$1" "$2" "$4" "$3" "$(awk -v growth="$GROWTH" 'BEGIN { print (growth - 1) * 100 }')"
  fi
}

# Says that figures cannot be compared here: `incomparable HOW-MANY WHY`.
incomparable() {
  ignored=$((ignored + $1))
  printf 'NOT COMPARED: %s\n' "$2"
}

# Compares with the committed figures. Another compiler, C library or Envoy executes other instructions for the same source: then it
# says so and compares nothing, rather than failing by what nobody here has changed.
check_figures() {
  local passed=0 failed=0 ignored=0
  [ -n "$(kept engine_hit)" ] || fail "$FIGURES is missing or has no figures: \`./envoy/bench --instructions --renew\` writes it"
  if [ "$(compiler)" != "$(kept rustc)" ]; then
    incomparable 2 "the engine's figures are of $(kept rustc), and this is $(compiler)"
  elif awk -v now="${FIGURE[reference]}" -v then="$(kept engine_reference)" -v likeness="$LIKENESS" \
    'BEGIN { exit !(now > then * (1 + likeness) || now < then * (1 - likeness)) }'; then
    incomparable 2 "work of the standard library alone takes ${FIGURE[reference]} instructions here, and $(kept engine_reference) where the engine's figures are from: another C library or processor"
  else
    compare "the engine's hit" "${FIGURE[hit]}" "$(kept engine_hit)" instructions
    compare "the engine's pass-through" "${FIGURE[pass]}" "$(kept engine_pass)" instructions
  fi
  if [ "$(envoy_version "$envoy")" != "$(kept envoy)" ]; then
    incomparable 2 "the figures in Envoy are of Envoy $(kept envoy), and this is $(envoy_version "$envoy")"
  else
    # Ratios, because Envoy and V8 choose other code on other processors, for what is compared with too.
    compare "a hit of the worker store in Envoy" "$(times_of "${KI[hit]}" "${KI[direct]}")" \
      "$(times_of "$(kept envoy_worker_hit_ki)" "$(kept envoy_direct_response_ki)")" "times direct_response"
    compare "a pass-through in Envoy" "$(times_of "${KI[known]}" "${KI[plain]}")" \
      "$(times_of "$(kept envoy_pass_ki)" "$(kept envoy_plain_ki)")" "times plain proxying"
  fi
  # As cargo says it, for whoever adds up.
  printf 'test result: %s. %d passed; %d failed; %d ignored; instructions\n' "$([ "$failed" -eq 0 ] && echo ok || echo FAILED)" \
    "$passed" "$failed" "$ignored"
  [ "$failed" -eq 0 ]
}

# Prints a quotient.
times_of() { awk -v value="$1" -v base="$2" 'BEGIN { printf "%.4f", value / base }'; }

# Counts what was asked for, and compares or keeps it.
instructions() {
  prepare_counting
  if [ "$figures" = show ]; then
    floor=$("$root/wasm-target/build" --floor)
    measure_instructions
    return
  fi
  count_engine
  start_checked
  count_checked
  stop_subjects
  if [ "$figures" = check ]; then
    check_figures
  else
    figures >"$SCRATCH/figures"
    cp "$SCRATCH/figures" "$FIGURES"
    cat "$FIGURES"
  fi
}

# Prints a row: `instructions_row ROW TITLE BASE`.
instructions_row() {
  printf '| %s | %s | %.2f | %+.1f |\n' "$2" "${KI[$1]}" "$(times_of "${KI[$1]}" "${KI[$3]}")" \
    "$(awk -v value="${KI[$1]}" -v base="${KI[$3]}" 'BEGIN { print value - base }')"
}

# Prints the result as Markdown.
instructions_table() {
  cat <<HEAD
# How many instructions a request takes

\`${command% }\`: Envoy $(envoy_version "$envoy"), $(valgrind --version), $(compiler).
$COUNTED requests on one connection, after $WARMING that are not counted; 1 kB where nothing else is said.

Thousands of instructions (ki) in user space of all threads of the Envoy process for a request, without what the process does by
itself. No time, but a figure that repeats: cache and branches are not in it.

| answers | ki | of \`direct_response\` | more |
|---|---|---|---|
HEAD
  instructions_row direct "Envoy's \`direct_response\`" direct
  instructions_row native "Envoy's cache filter, \`simple_http_cache\`" direct
  instructions_row floor "a wasm filter that does nothing but reply" direct
  instructions_row hit "Selvage, worker store" direct
  instructions_row stale "Selvage, stale, while a refresh is under way" direct
  instructions_row gzip "Selvage, worker store, 10 kB of JSON as gzip" direct
  instructions_row node "Selvage, node store" direct
  instructions_row remote "Selvage, remote store by webdis" direct
  cat <<'HEAD'

| asks the origin | ki | of plain | more |
|---|---|---|---|
HEAD
  instructions_row plain "Envoy without the filter" plain
  instructions_row bypass "Selvage, bypassed by a rule" plain
  instructions_row known "Selvage, \`no-store\`, known from before" plain
  instructions_row nostore "Selvage, \`no-store\` of a new URL" plain
  instructions_row post "Selvage, POST" plain
  instructions_row miss "Selvage, miss that is stored" plain
  instructions_row collapsed "Selvage, one of $HERD that ask for a new URL at once" plain
}
