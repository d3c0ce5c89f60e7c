#!/usr/bin/env bash
# Run a command with what the workflows' tests need: a Docker engine, a base image, wheels; and those of pages: a browser.
# On a bare Debian, as root, it installs them; an engine that it had to start ends with it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
state=$root/.force/workflows
mkdir -p "$state"
export FORCE_BASE_IMAGE=force-base:bookworm FORCE_WHEELHOUSE=$state/wheelhouse

install() { # COMMAND PACKAGE...: install the packages where the command is missing
    command -v "$1" > /dev/null && return
    [ "$(id -u)" = 0 ] || { echo "error: '$1' is missing" >&2; echo "hint: apt-get install ${*:2}" >&2; exit 5; }
    [ -e "$state/updated" ] || { apt-get update -qq && touch "$state/updated"; }
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:2}" > "$state/apt.log" 2>&1 \
        || { tail -n 5 "$state/apt.log" >&2; exit 5; }
}

start_engine() {
    docker info > /dev/null 2>&1 && return
    # A process id file that a killed engine left would keep a new one from starting.
    rm -f /var/run/docker.pid
    setsid dockerd > "$state/dockerd.log" 2>&1 &
    engine=$!
    trap 'kill "$engine" 2> /dev/null; wait "$engine" 2> /dev/null || true' EXIT
    for _ in $(seq 120); do
        docker info > /dev/null 2>&1 && return
        kill -0 "$engine" 2> /dev/null || break
        sleep 0.5
    done
    echo "error: dockerd does not start" >&2
    tail -n 20 "$state/dockerd.log" >&2
    exit 5
}

import_base() { # the smallest Debian with Python: no image can be pulled everywhere
    docker image inspect "$FORCE_BASE_IMAGE" > /dev/null 2>&1 && return
    local tree=$state/base
    rm -rf "$tree"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$tree" \
        "$(sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p; s/^URIs: *//p' \
            /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | head -n 1)" > "$state/debootstrap.log" 2>&1 \
        || { tail -n 5 "$state/debootstrap.log" >&2; exit 5; }
    tar -C "$tree" -c . | docker import - "$FORCE_BASE_IMAGE" > /dev/null
    rm -rf "$tree"
}

download_wheels() { # those of docker/train.lock and torch's for the CPU, for the base's Python
    local key python
    key=$(cat "$root/docker/train.lock" "$root/docker/train.in" | sha256sum | cut -c1-16)
    [ -e "$FORCE_WHEELHOUSE/$key" ] && return
    rm -rf "$FORCE_WHEELHOUSE"
    mkdir -p "$FORCE_WHEELHOUSE"
    python=$(python3 -c 'import sys; print(sys._base_executable)')
    { "$python" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --python-version 3.11 \
        --dest "$FORCE_WHEELHOUSE" --requirement "$root/docker/train.lock" \
        && "$python" -m pip download --quiet --no-deps --dest "$FORCE_WHEELHOUSE" \
            "$(grep '^torch==' "$root/docker/train.in")"; } > "$state/pip.log" 2>&1 \
        || { tail -n 5 "$state/pip.log" >&2; exit 5; }
    touch "$FORCE_WHEELHOUSE/$key"
}

install docker docker.io
install dockerd docker.io
install debootstrap debootstrap
install docker-registry docker-registry
install systemd-analyze systemd
install chromium chromium
install chromedriver chromium-driver fonts-dejavu-core
install npm npm
start_engine
import_base
download_wheels
"$@"
