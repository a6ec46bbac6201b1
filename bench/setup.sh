#!/bin/sh
# Installs what the benches compare us with: system packages where this user may, else it says what is missing.
# Nothing here is fatal but our own dependencies: a peer that is missing is named in the results.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
stamp=.venv-bench/.installed

wanted=""
command -v redis-server >/dev/null || wanted="$wanted redis-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || wanted="$wanted postgresql"
command -v strace >/dev/null || wanted="$wanted strace"
command -v node >/dev/null || wanted="$wanted nodejs"
command -v npm >/dev/null || wanted="$wanted npm"

# Debian's packages start their services when they are installed; the benches start servers of their own.
install_packages() {
    policy=/usr/sbin/policy-rc.d
    made=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $1 tee "$policy" >/dev/null && $1 chmod 755 "$policy" && made=yes
    fi
    status=0
    { $1 apt-get update -qq && $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $wanted; } \
        >/dev/null || status=$?
    [ "$made" = no ] || $1 rm -f "$policy"
    return "$status"
}

if [ -n "$wanted" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
        echo "installing$wanted" >&2
        install_packages "$sudo" || echo "could not install all of:$wanted" >&2
    else
        echo "missing, and not installed because that needs root on Debian; get them with: apt-get install$wanted" >&2
    fi
fi

if [ ! -e "$stamp" ] || [ requirements/bench.txt -nt "$stamp" ]; then
    echo "installing the locked dependencies of the benches into .venv-bench" >&2
    [ -x .venv-bench/bin/python ] || "$python" -m venv .venv-bench
    pip=".venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes"
    fits=yes
    $pip -r requirements/bench.txt -r requirements/build.txt || fits=no
    if [ "$fits" = no ]; then
        echo "not all peers' packages fit this machine: only our own dependencies are installed" >&2
        $pip -r requirements/runtime.txt -r requirements/build.txt
    fi
    .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    [ "$fits" = no ] || touch "$stamp"
fi

peer=bench/peers/durable-streams
if command -v npm >/dev/null && [ ! -e "$peer/node_modules/.package-lock.json" ]; then
    (cd "$peer" && npm ci --silent --ignore-scripts) || echo "could not install the npm packages in $peer" >&2
fi
