#!/usr/bin/env bash
# Make the environment that `force` needs here, once for each lock file, and put it on PATH. A machine that has one
# already names it in FORCE_VENV.
set -euo pipefail
here=$(dirname "$0")
lock=$here/$FOR.lock
if [ -z "${FORCE_VENV:-}" ]; then
    digest=$(sha256sum "$lock" | cut -c1-16)
    venv=${RUNNER_TOOL_CACHE:-$HOME/.cache}/force-build/$FOR-$digest
    mkdir -p "$(dirname "$venv")"
    exec 9> "$venv.lock"
    flock 9 # several runners may share a machine
    if [ ! -e "$venv/ready" ]; then
        # Debian's python3 alone can make no environment with pip in it: an outer pip fills one without.
        python=$(python3 -c 'import sys; print(sys._base_executable)')
        rm -rf "$venv"
        "$python" -m venv --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet --no-deps --require-hashes -r "$lock"
        touch "$venv/ready"
    fi
    exec 9>&-
else
    venv=$FORCE_VENV
fi
# The checkout's own code, whatever else is installed there. The shim is `docker/force`, as in the image.
bin=$RUNNER_TEMP/force-bin
mkdir -p "$bin"
cp docker/force "$bin/force"
{
    echo "$venv/bin"
    echo "$bin"
} >> "$GITHUB_PATH"
echo "PYTHONPATH=$PWD" >> "$GITHUB_ENV"
