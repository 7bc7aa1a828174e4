#!/usr/bin/env bash
# Builds the sdist and the wheel into dist/, checks both, and tries them as a user would:
# the wheel in a new environment without extras, the sdist with the commands of the README.
#
#   tools/package.sh PYTHON     a Python that has build and twine, for example .venv/bin/python
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=$(realpath -s "$1")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

step() {
    echo "package: $*"
}

step "build"
rm -rf dist
"$PYTHON" -m build --outdir dist . >"$WORK/build.log" 2>&1 || { cat "$WORK/build.log"; exit 1; }
"$PYTHON" -m twine check --strict dist/*

step "the wheel, in an environment without extras"
"$PYTHON" -m venv "$WORK/venv"
"$WORK/venv/bin/python" -m pip install --quiet --disable-pip-version-check dist/*.whl
cp tools/smoke.py "$WORK"
(cd "$WORK" && venv/bin/python -I smoke.py)

step "the sdist, with the README's commands"
mkdir "$WORK/sdist"
tar -xzf dist/*.tar.gz -C "$WORK/sdist" --strip-components=1
# The sdist has every file under version control, except .gitignore.
git ls-files 2>/dev/null | grep -vxF .gitignore | while read -r file; do
    [ -e "$WORK/sdist/$file" ] || { echo "package: the sdist lacks $file" >&2; exit 1; }
done
cd "$WORK/sdist"
# -u: the sdist must not use the environments that this run was given.
env -u VENV -u MAKEFLAGS timeout 600 make --no-print-directory demo >"$WORK/demo.log" 2>&1 ||
    { cat "$WORK/demo.log"; exit 1; }
env -u VENV -u MAKEFLAGS make --no-print-directory -n test check >/dev/null
step "passed"
