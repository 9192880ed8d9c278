# shellcheck shell=bash
# What a hit costs that a client takes as gzip, and what compressing at the first store costs. Part of envoy/bench, which
# sources it.

GZIP_SIZES=(10000 100000)
GZIPPERS=(direct native worker node)
STORERS=(plain uncompressed compressed)

# Prints JSON of about so many bytes: a list of articles with words and numbers, the same each time: `json BYTES`.
json() {
  awk -v size="$1" '
    # Of Park and Miller: exact in doubles, so every awk makes the same text.
    function below(end) { seed = seed * 16807 % 2147483647; return seed % end }
    # Low numbers are the likelier, as some words are.
    function text(count,   line) {
      while (count-- > 0) line = line (line ? " " : "") word[1 + int(below(words) * below(1000) / 1000)]
      return line
    }
    BEGIN {
      seed = 20240817
      words = split("the of and with for light cotton black large steel water summer winter shirt table wooden classic kitchen " \
        "garden leather children outdoor portable wireless handmade organic vintage modern compact cable lamp chair bottle " \
        "jacket pocket canvas silver green yellow purple natural premium travel office kettle blanket mirror pillow basket " \
        "candle ceramic glass bamboo marble copper velvet linen woollen striped folding adjustable rechargeable waterproof " \
        "durable elegant narrow round square double single replacement adapter holder cover stand mount filter keyboard", word, " ")
      out = "{\"items\":["
      while (length(out) < size - 330) {
        out = out sprintf("%s{\"id\":%d,\"sku\":\"%06x%06x\",\"name\":\"%s\",\"description\":\"%s\",\"price\":%d.%02d,", \
          n++ ? "," : "", below(10000000), below(16777216), below(16777216), text(3), text(14), below(500), below(100))
        out = out sprintf("\"in_stock\":%s,\"tags\":[\"%s\",\"%s\"],\"updated\":\"2025-%02d-%02dT%02d:%02d:%02dZ\"}", \
          below(4) ? "true" : "false", text(1), text(1), 1 + below(12), 1 + below(28), below(24), below(60), below(60))
      }
      out = out "]"
      printf "%s,\"note\":\"%*s\"}", out, size - length(out) - 12, text(6)
    }'
}

# Prints the routes that answer with JSON.
json_routes() {
  local size
  for size in "${GZIP_SIZES[@]}"; do
    cat <<ROUTE
                        - match: { path: "/$size" }
                          response_headers_to_add:
                            - header: { key: cache-control, value: "public, max-age=86400" }
                            - header: { key: etag, value: '"bench"' }
                            - header: { key: content-type, value: application/json }
                              append_action: OVERWRITE_IF_EXISTS_OR_ADD
                          direct_response: { status: 200, body: { filename: "$SCRATCH/json-$size" } }
ROUTE
  done
}

# Prints Envoy's compressor in front of its cache filter, so that it works on what the cache answers.
native_with_compressor() {
  cat <<'FILTER'
                  - name: envoy.filters.http.compressor
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      compressor_library:
                        name: gzip
                        typed_config:
                          "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
FILTER
  native_filter
}

# Starts all processes of a round: the origin on core 1, the subjects on core 0.
start_gzip_subjects() {
  local size base="$root/envoy/bootstrap/local.yaml"
  for size in "${GZIP_SIZES[@]}"; do json "$size" >"$SCRATCH/json-$size"; done
  json_routes >"$SCRATCH/routes"
  native_with_compressor >"$SCRATCH/native"
  start_origin
  marks+=("ORIGIN_PORT=${PORT[origin]}")
  subject direct < <(variant filters "$SCRATCH/none" <"$base" | variant routes "$SCRATCH/routes")
  subject plain < <(variant filters "$SCRATCH/none" <"$base")
  subject native < <(variant filters "$SCRATCH/native" <"$base")
  subject worker <"$base"
  subject compressed <"$base"
  local shared=("${marks[@]}")
  marks=("${shared[@]}" "CONFIG=$(quoted '{"worker":{"bytes":"0"}}')")
  subject node <"$base"
  # A rule for no type is a filter that compresses nothing; one that cannot compress yet is that without a rule.
  if [ "$compresses" = yes ]; then marks=("${shared[@]}" "CONFIG=$(quoted '{"defaults":{"compression":{"enabled":false}}}')"); fi
  subject uncompressed <"$base"
}

# Asks each subject twice for each size, and notes which of them answer gzip clients with gzip, and how many bytes.
check_codings() {
  local size name answer
  for size in "${GZIP_SIZES[@]}"; do
    for name in native worker node; do
      ask "${PORT[$name]}" "/$size" 'Accept-Encoding: gzip' >/dev/null
      answer=$(ask "${PORT[$name]}" "/$size" 'Accept-Encoding: gzip' | tr -d '\r' | LC_ALL=C sed '/^$/,$d')
      if ! grep -qi '^content-encoding: gzip' <<<"$answer"; then
        say "$name answers /$size to a gzip client WITHOUT content-encoding: gzip; its row is no comparison"
        PLAIN[$name]=yes
      fi
    done
  done
}

# Measures all rounds.
measure_gzip() {
  local round size i name compresses=no
  declare -gA PLAIN=()
  if grep -q '"compression"' "$root/plugin/engine/config.schema.json"; then compresses=yes; fi
  for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    start_gzip_subjects
    check_codings
    WRK=(-H 'Host: bench.test' -H 'Accept-Encoding: gzip')
    for size in "${GZIP_SIZES[@]}"; do
      for name in "${GZIPPERS[@]}"; do load "$name" "$size" 1; done
      measure_each "$round" "$size" "$size" "${GZIPPERS[@]}"
      # Clients without gzip, for the price of the other form.
      WRK=(-H 'Host: bench.test')
      measure_each "$round" "$size" "$size/identity" worker node
      for ((i = 0; i < ${#STORERS[@]}; i++)); do
        name=${STORERS[(i + round) % ${#STORERS[@]}]}
        never_twice "$size" 0
        measure "$round" "$name" "$size" "store/$size"
      done
      WRK=(-H 'Host: bench.test' -H 'Accept-Encoding: gzip')
    done
    WRK=()
    stop_subjects
  done
}

# Prints the row of a way to answer gzip clients: `gzip_row SUBJECT TITLE`.
gzip_row() {
  local size
  printf '| %s%s |' "$2" "$(if [ -n "${PLAIN[$1]:-}" ]; then echo ' (NOT COMPRESSED)'; fi)"
  for size in "${GZIP_SIZES[@]}"; do
    printf ' %s%s | %s | %s |' "$(ratio "$size" "$1" - 4 %.1f)" "$(misses "$size" "$1")" "$(ratio "$size" "$1" direct 4 %.2f)" \
      "$(ratio "$size" native "$1" 4 %.1f)"
  done
  echo
}

# Prints the row of a way to store: `store_row SUBJECT TITLE`.
store_row() {
  local size
  printf '| %s |' "$2"
  for size in "${GZIP_SIZES[@]}"; do
    printf ' %s | %s |' "$(ratio "store/$size" "$1" - 4 %.0f)" "$(ratio "store/$size" "$1" plain 4 %.2f)"
  done
  echo
}

# Prints the result as Markdown.
gzip_table() {
  cat <<HEAD
# What a hit costs that is sent as gzip

$(circumstances "the origin")

Processor time of the Envoy process for a request, of JSON made of words and numbers. "Less than native" is how many times less
than Envoy's cache filter with its compressor in the same round. Sought: 4 at 10 kB, 35 at 100 kB.

| answers a client that takes gzip | 10 kB, µs | of direct | less than native | 100 kB, µs | of direct | less than native |
|---|---|---|---|---|---|---|
HEAD
  gzip_row direct "Envoy's \`direct_response\`, not compressed"
  gzip_row native "Envoy's cache filter and compressor"
  gzip_row worker "Selvage, worker store"
  gzip_row node "Selvage, node store"
  printf '\nClients without gzip: worker store %s and %s µs, node store %s and %s µs.\n' \
    "$(ratio 10000/identity worker - 4 %.1f)" "$(ratio 100000/identity worker - 4 %.1f)" \
    "$(ratio 10000/identity node - 4 %.1f)" "$(ratio 100000/identity node - 4 %.1f)"
  cat <<'HEAD'

The first store: every request is for another URL, so that each response is fetched and stored.

| fetches | 10 kB, µs | of plain | 100 kB, µs | of plain |
|---|---|---|---|---|
HEAD
  store_row plain "Envoy without the filter"
  store_row uncompressed "Selvage, stored as it came"
  store_row compressed "Selvage, stored compressed"
}
