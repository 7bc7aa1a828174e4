#!/usr/bin/env bash
# Runs the tests on every CPython from 3.11 up that this machine has, each in its own environment.
#
#   tools/test_all.sh [--but VERSION] [PYTEST ARGUMENT...]
#
# Prints the versions that it finds. Fails if the tests fail on one of them, or if there is none.
# --but 3.11 skips that version.
set -u
cd "$(dirname "$0")/.." || exit 1

but=
if [ "${1:-}" = --but ]; then
    but=$2
    shift 2
fi

candidates() {
    local minor root
    for minor in $(seq 11 20); do
        command -v "python3.$minor"
        for dir in /usr/bin /usr/local/bin; do
            [ -x "$dir/python3.$minor" ] && echo "$dir/python3.$minor"
        done
    done
    command -v python3
    root=${PYENV_ROOT:-$HOME/.pyenv}
    for python in "$root"/versions/*/bin/python; do
        [ -x "$python" ] && echo "$python"
    done
}

# pyenv has a shim even for versions that are not selected; those shims fail here.
version_of() {
    "$1" -c 'import sys, platform
assert platform.python_implementation() == "CPython" and sys.version_info >= (3, 11)
print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

declare -A found=()
while read -r python; do
    version=$(version_of "$python") || continue
    [ "$version" != "$but" ] || continue
    [ -n "${found[$version]:-}" ] || found[$version]=$python
done < <(candidates)

if [ ${#found[@]} -eq 0 ]; then
    [ -z "$but" ] || { echo "test-all: found no CPython from 3.11 up except $but"; exit 0; }
    echo "test-all: found no CPython from 3.11 up" >&2
    exit 1
fi
versions=$(printf '%s\n' "${!found[@]}" | sort -V)
echo "test-all: found CPython" $versions

failed=
for version in $versions; do
    echo "== CPython $version"
    if ! make --no-print-directory test "PYTHON=${found[$version]}" "VENV=.venvs/$version" \
        "PYTEST_ARGS=-q $*"; then
        failed="$failed $version"
    fi
done
[ -z "$failed" ] || { echo "test-all: failed on CPython$failed" >&2; exit 1; }
echo "test-all: passed on CPython" $versions
