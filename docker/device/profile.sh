#!/bin/sh
# Measures the model files of a folder that was copied to a device: no network, no pip,
# no root, nothing written outside of it. It lies in that folder, beside
#
#   runtime/   our package, as it is in the repository
#   models/    .onnx, .tflite and .pte files, each with its .json
#   venv/      an environment with numpy and an interpreter; else ../edgepress-venv, or
#              the python3 of the system, or the one that PYTHON names
#
# and leaves a JSON file a model and run in results/. What follows its name goes to
# `python -m runtime`: profile.sh --runs 500 --threads 4. The exit code is the worst of
# that program's; 6 is also a Python that is missing, 7 another run of this script.
set -eu

say() {
    printf 'profile.sh: %s\n' "$1" >&2
}

stop() {
    say "$2"
    exit "$1"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd -- "$here"

if [ -n "${PYTHON:-}" ]; then
    python=$PYTHON
elif [ -x venv/bin/python ]; then
    python=$here/venv/bin/python
elif [ -x ../edgepress-venv/bin/python ]; then
    python=$here/../edgepress-venv/bin/python
else
    python=python3
fi
command -v -- "$python" > /dev/null ||
    stop 6 "$python is not there; install it, or name another one: PYTHON=PATH"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    stop 6 "$python is older than 3.10; name another one: PYTHON=PATH"
[ -f runtime/__main__.py ] ||
    stop 2 "$here/runtime is missing; copy it from the repository"

mkdir -p results || stop 7 "$here cannot be written"
# Two runs at once would measure each other.
if command -v flock > /dev/null; then
    exec 9> results/.lock
    flock -n 9 || stop 7 "another run is going on in $here; wait for it"
fi

draft=results/.draft.$$
trap 'rm -f -- "$draft"' EXIT
trap 'exit 130' HUP INT TERM
export EDGEPRESS_CACHE="$here/results/.cache"
stamp=$(date -u +%Y%m%dT%H%M%SZ)
worst=0
count=0

failed() {
    say "$2: not measured, exit code $1"
    [ "$1" -le "$worst" ] || worst=$1
}

for file in models/*.onnx models/*.tflite models/*.pte; do
    [ -f "$file" ] || continue
    count=$((count + 1))
    name=${file#models/}
    code=0
    # 3 is a file without a self-test, 6 no interpreter to answer it (trtexec only times
    # files): whether it can be measured, measuring says.
    "$python" -m runtime --check -q -- "$file" || code=$?
    if [ "$code" -ne 0 ] && [ "$code" -ne 3 ] && [ "$code" -ne 6 ]; then
        failed "$code" "$name"
        continue
    fi
    code=0
    "$python" -m runtime --json -q "$@" -- "$file" > "$draft" || code=$?
    if [ "$code" -eq 7 ] && [ -s "$draft" ]; then
        say "$name: measured, but it is not valid; the JSON says why"
        [ "$worst" -ge 7 ] || worst=7
    elif [ "$code" -ne 0 ]; then
        failed "$code" "$name"
        continue
    fi
    mv -- "$draft" "results/$stamp-$name.json" || stop 7 "results cannot be written"
    printf '%s\n' "results/$stamp-$name.json"
done

[ "$count" -gt 0 ] || stop 2 "no .onnx, .tflite or .pte file is in $here/models"
exit "$worst"
