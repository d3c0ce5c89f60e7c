#!/bin/bash
# Remove what a job left: containers that were started from its checkout, and its files. Says what it does, never fails.
#
# The runner calls this at a job's end (ACTIONS_RUNNER_HOOK_JOB_COMPLETED), systemd as root when the runner has ended:
# only root can delete what a container wrote as another user, and a runner that was killed called nothing.
set -uo pipefail

scope="${GITHUB_WORKSPACE:-$FORCE_RUNNER_DIRECTORY/run/_work}"
label=force-build.workspace

while read -r container workspace; do
    if [[ "$workspace/" == "$scope"/* ]]; then
        echo "removing container $container, started from $workspace"
        docker rm --force --volumes "$container" >/dev/null || echo "warning: container $container is still there"
    fi
done < <(docker ps --all --no-trunc --filter "label=$label" --format "{{.ID}} {{.Label \"$label\"}}")

if [ -n "${GITHUB_WORKSPACE:-}" ]; then
    find "$GITHUB_WORKSPACE" -xdev -mindepth 1 -delete 2>/dev/null || echo "the rest is removed when the runner ends"
else
    rm -rf --one-file-system -- "$FORCE_RUNNER_DIRECTORY/run"
fi
exit 0
