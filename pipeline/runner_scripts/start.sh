#!/bin/bash
# Register the runner for one job, and run it. The token is gone before a job is there that could read it.
set -euo pipefail

cd -- "$FORCE_RUNNER_DIRECTORY/run"
ACTIONS_RUNNER_INPUT_TOKEN="$(cat registration)"
rm registration
export ACTIONS_RUNNER_INPUT_TOKEN
./config.sh --unattended --ephemeral --replace --disableupdate --work _work \
    --url "$FORCE_RUNNER_URL" --name "$FORCE_RUNNER_NAME" --labels "$FORCE_RUNNER_LABELS"
unset ACTIONS_RUNNER_INPUT_TOKEN
exec ./run.sh
