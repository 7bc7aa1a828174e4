#!/usr/bin/env bash
# Runs the tests on every CPython from 3.11 up that is found, each in an environment of its own.
# Arguments go to pytest. Says which it found, and fails if one of them fails or none was found.
set -u
cd "$(dirname "$0")/.." || exit 1

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

# A pyenv shim of a version that is not selected exists and fails: only what runs counts.
version_of() {
    "$1" -c 'import sys, platform
assert platform.python_implementation() == "CPython" and sys.version_info >= (3, 11)
print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

declare -A found=()
while read -r python; do
    version=$(version_of "$python") || continue
    [ -n "${found[$version]:-}" ] || found[$version]=$python
done < <(candidates)

[ ${#found[@]} -gt 0 ] || { echo "test-all: no CPython from 3.11 up was found" >&2; exit 1; }
versions=$(printf '%s\n' "${!found[@]}" | sort -V)
echo "test-all: found CPython" $versions

failed=
for version in $versions; do
    venv=.venvs/$version
    echo "== CPython $version"
    if ! { [ -x "$venv/bin/python" ] || "${found[$version]}" -m venv "$venv"; } \
        || ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            -e '.[test,demo]' \
        || ! "$venv/bin/python" -m pytest -q -n 2 "$@"; then
        failed="$failed $version"
    fi
done
[ -z "$failed" ] || { echo "test-all: failed on CPython$failed" >&2; exit 1; }
echo "test-all: passed on CPython" $versions
