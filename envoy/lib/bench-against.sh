# shellcheck shell=bash
# What a change costs: the present module beside another one, such as that of the commit before. Part of envoy/bench, which
# sources it.

AGAINST_CELLS=(1000 10000 nostore)

# Measures both modules in turns. Each round has processes of its own, because where one lies in memory changes its speed by
# more than most changes do; the rounds are what makes a small difference visible.
measure_against() {
  local round base="$root/envoy/bootstrap/local.yaml" cell
  for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    make_bodies
    direct_routes >"$SCRATCH/routes"
    start_origin
    marks+=("ORIGIN_PORT=${PORT[origin]}")
    subject worker <"$base"
    subject other < <(sed "s|^\( *filename: \).*# SELVAGE_WASM|\1$(quoted "$against")|" "$base")
    for cell in "${AGAINST_CELLS[@]}"; do
      for name in worker other; do load "$name" "$cell" 1; done
      measure_each "$round" "$cell" "$cell" worker other
    done
    stop_subjects
  done
}

# Prints a cell's row: the median ratio over the rounds, the standard error of the mean, and the middle half of the rounds.
against_row() {
  awk -v path="$1" '$2 == path && $3 == "worker" { ours[$1] = $4 } $2 == path && $3 == "other" { theirs[$1] = $4 }
    END { for (round in ours) print ours[round] / theirs[round], ours[round], theirs[round] }' "$results" | sort -g |
    awk -v title="$2" '
      { v[NR] = $1; sum += $1; square += $1 * $1; ours += $2; theirs += $3 }
      END {
        mean = sum / NR
        error = NR > 1 ? sqrt((square / NR - mean * mean) / (NR - 1)) : 0
        median = (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
        printf "| %s | %.3f | %.3f ± %.3f | %.3f to %.3f | %.1f | %.1f |\n", title, median, mean, error,
          v[int((NR + 3) / 4)], v[int((3 * NR + 1) / 4)], ours / NR, theirs / NR
      }'
}

# Prints the result as Markdown.
against_table() {
  cat <<HEAD
# What a change costs

$(circumstances "the origin")

Processor time of the Envoy process for a request with the present module, as a ratio to ${against##*/} in the same round.

| answers | median | mean ± standard error | middle half of the rounds | µs | µs of the other |
|---|---|---|---|---|---|
HEAD
  against_row 1000 "a hit of the worker store, 1 kB"
  against_row 10000 "the same, 10 kB"
  against_row nostore "passing a \`no-store\` response through"
}
