#!/usr/bin/env bash
# Runs the tests on the CPython versions that only Debian sid has, in a root file system of its own.
#
#   tools/sid.sh [PYTEST ARGUMENT...]
#
# debootstrap makes the root in $SID_ROOT (default .venvs/sid); later runs reuse it.
# The tests see their own /proc, /dev/pts and /dev/shm, and this folder as /src/tapring. All mounts
# are in a mount namespace of this script, so they vanish when it ends, even if it is killed.
#
# Exit code 0: the tests passed. 1: they failed. 77: the root cannot be built; see standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSIONS=${SID_VERSIONS:-"3.14 3.15"}
ROOT=$(realpath -m "${SID_ROOT:-.venvs/sid}")
LOG=$ROOT.log

# Run a command in its own mount and process namespaces; all its processes end with it.
isolated() {
    unshare --mount --propagation private --pid --fork --kill-child "$@"
}

skip() {
    echo "sid: skipped: $*" >&2
    exit 77
}

# ---- The root, built once ----

build() {
    [ -e "$ROOT/.complete" ] && return
    [ "$(id -u)" -eq 0 ] || skip "this must run as root to build a Debian root"
    command -v apt-get >/dev/null || skip "this machine has no apt to look up the Debian mirror in"
    isolated true 2>/dev/null || skip "this machine does not allow mount namespaces"
    if ! command -v debootstrap >/dev/null; then
        apt-get update -q >/dev/null || true
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends debootstrap \
            >/dev/null || skip "debootstrap cannot be installed"
    fi
    local mirror proxy versions
    mirror=$(mirror_of_this_machine)
    [ -n "$mirror" ] || skip "no Debian mirror is configured in apt"
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    mkdir -p "$(dirname "$ROOT")"
    # If sid has dropped a version, the others are still tested.
    for versions in "$VERSIONS" $(tac -s ' ' <<<"$VERSIONS "); do
        rm -rf --one-file-system "$ROOT"
        echo "sid: building a root with CPython $versions"
        # shellcheck disable=SC2086
        if http_proxy=${proxy:-${http_proxy:-}} isolated debootstrap --variant=minbase \
            --include="$(packages $versions)" sid "$ROOT" "$mirror" >"$LOG" 2>&1; then
            touch "$ROOT/.complete"
            return
        fi
        tail -n 3 "$LOG" >&2
    done
    skip "debootstrap failed; $LOG has its output"
}

# The address comes from this machine's apt configuration, never from this repository.
mirror_of_this_machine() {
    apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Component: main' 'Origin: Debian' 'Label: Debian' | head -n 1
}

packages() {
    local names=ca-certificates,gcc,libc6-dev,make,strace version
    for version in "$@"; do
        names+=,python$version,python$version-dev,python$version-venv
    done
    echo "$names"
}

# ---- The tests, in the root ----

# Set up the mounts, then run a command in the root.
enter() {
    # shellcheck disable=SC2016
    isolated bash -euc "$(declare -f set_up_mounts paths_of_pip); set_up_mounts"'
        cd "$ROOT"
        pivot_root . .host
        cd /src/tapring
        umount -l /.host
        exec "$@"' enter "$@"
}

set_up_mounts() {
    local name path
    mount --bind "$ROOT" "$ROOT"  # pivot_root wants a mount
    cd "$ROOT"
    mount -t tmpfs -o mode=755 tmpfs dev
    for name in null zero full random urandom tty; do
        touch "dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    mkdir -p dev/pts dev/shm .host src/tapring
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    cp -L /etc/hosts /etc/resolv.conf etc/
    mount --bind "$SOURCE" src/tapring
    if [ -d "$SOURCE/../shared" ]; then  # real input for the tests
        mkdir -p src/shared
        mount --bind -o ro "$SOURCE/../shared" src/shared
    fi
    # pip in the root uses this machine's configuration and certificates.
    paths_of_pip | sort -u | while read -r path; do
        if [ -d "$path" ]; then
            mkdir -p ".$path"
        else
            mkdir -p ".$(dirname "$path")" && touch ".$path"
        fi
        mount --bind -o ro "$path" ".$path"
    done
}

# The files and folders that this machine's pip reads, if they exist.
paths_of_pip() {
    {
        printf '%s\n' /etc/ssl /etc/pip.conf /etc/xdg/pip "$HOME/.pip" "$HOME/.config/pip" \
            "${PIP_CONFIG_FILE:-}"
        # An index on disk refers to files beside its folder.
        python3 -m pip config list 2>/dev/null | tr "'\" " '\n\n\n' |
            sed -E 's,^file://(.*)/[^/]+/?$,\1,'
    } | while read -r path; do
        case $path in
            /etc/ssl/*) ;;  # /etc/ssl is mounted as a whole
            /etc/xdg/pip/*) ;;
            /?*) [ -e "$path" ] && realpath -s "$path" ;;
        esac
    done
}

test_on() {
    local version=$1
    shift
    echo "== CPython $version (Debian sid)"
    # Some packages have no wheel for the newest version; -O0 halves the time to compile them.
    enter env -u TMPDIR -u PYTHONPATH -u VIRTUAL_ENV -u LANG HOME="$HOME" LC_ALL=C.UTF-8 \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin CFLAGS=-O0 \
        make --no-print-directory test "PYTHON=python$version" "VENV=/venvs/$version" \
        "PYTEST_ARGS=-q -p no:cacheprovider $*"
}

build
export ROOT SOURCE=$PWD
failed=
for version in $VERSIONS; do
    if [ ! -e "$ROOT/usr/bin/python$version" ]; then
        echo "sid: skipped: the root has no CPython $version" >&2
    elif ! test_on "$version" "$@"; then
        failed="$failed $version"
    fi
done
[ -z "$failed" ] || { echo "sid: failed on CPython$failed" >&2; exit 1; }
