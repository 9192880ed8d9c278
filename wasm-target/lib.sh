# shellcheck shell=bash
# Functions that every script of this repository shares. Source it; it runs nothing by itself.
# Progress and faults go to stderr, so that stdout stays free for what another program reads.

# Prints one line of progress.
say() { printf 'selvage: %s\n' "$*" >&2; }

# Says in one line what is wrong and what helps, then ends the script.
fail() {
  printf 'selvage: %s\n' "$*" >&2
  exit 1
}

# True when the command exists.
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command with its output kept in a log; shows the log's last lines only when the command fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then tail -n 15 "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

# Runs a command as root: directly, or by sudo where it asks for no password. Fails when neither is possible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 126
  fi
}

# True when every named Debian package is installed.
packages_installed() {
  local package
  have dpkg-query || return 1
  for package in "$@"; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) in
      installed) ;;
      *) return 1 ;;
    esac
  done
}

# Installs Debian packages that are missing. `why` completes the sentence "needed ...".
apt_install() {
  local why=$1
  shift
  if packages_installed "$@"; then return 0; fi
  if ! have apt-get; then
    fail "$* missing (needed $why) and this is no Debian: install them by hand, then start again"
  fi
  if [ "$(id -u)" -ne 0 ] && ! { have sudo && sudo -n true 2>/dev/null; }; then
    fail "$* missing (needed $why): run \`sudo apt-get install $*\`, then start again"
  fi
  say "installing Debian packages: $* ($why)"
  local get=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y -q)
  # The package lists of a fresh machine are empty or old: refresh them only when the first try fails.
  as_root "${get[@]}" install --no-install-recommends "$@" >/dev/null 2>&1 </dev/null && return 0
  quietly as_root "${get[@]}" update || say "the package lists could not be refreshed; trying with the old ones"
  quietly as_root "${get[@]}" install --no-install-recommends "$@" ||
    fail "apt-get could not install $* (its last lines are above): mend that, then start again"
}

# Prints the names that `build --with` takes, the cache first: the features of the filter.
capabilities() {
  sed -n '/^\[features\]/,/^\[dependencies\]/s/^\([a-z]*\) = .*/\1/p' "${root:?}/plugin/Cargo.toml" | grep -vx default
}

# Makes sure that a C linker is there, without which no Rust program links.
ensure_linker() { have cc || apt_install "to link Rust programs" gcc libc6-dev; }

# Prints cargo's `--quiet` when the file is there already, so that a first, long build shows its progress and a later one is silent.
quiet_once_built() { if [ -e "$1" ]; then echo --quiet; fi; }

# Prints the cargo that builds programs for this machine: the PATH's, else Debian's.
host_cargo() {
  local cargo
  for cargo in cargo "${HOME:-}/.cargo/bin/cargo" /usr/bin/cargo; do
    # A rustup without a tool-chain has a `cargo` that only complains.
    if "$cargo" --version >/dev/null 2>&1; then
      command -v "$cargo"
      return 0
    fi
  done
  return 1
}

# Prints this machine's cargo, or ends the script with the remedy.
require_cargo() {
  host_cargo || fail "no working cargo: install Rust 1.95 or newer from https://rustup.rs (or \`apt-get install rustc-web cargo-web\`), then start again"
}
