#!/bin/bash
# Before each job, as root: a fresh copy of the runner, and the token that registers it once.
#
# The access token that this reads is root's. It is not passed by systemd (LoadCredential=): what systemd passes to a
# service can be read by all of it, and here that is the code of every job.
set -euo pipefail
umask 022

fail() {
    echo "error: $1" >&2
    exit 1
}

run="$FORCE_RUNNER_DIRECTORY/run"
[ -x "$FORCE_RUNNER_DIRECTORY/dist/run.sh" ] || fail "no runner in $FORCE_RUNNER_DIRECTORY/dist: unpack the newest release there"
rm -rf -- "$run"
cp -R --reflink=auto -- "$FORCE_RUNNER_DIRECTORY/dist" "$run"
mkdir -- "$run/home" "$run/tmp"
chown -R -- "$FORCE_RUNNER_USER:" "$run"
for folder in "${FORCE_CACHE_DIR:-}" "${FORCE_CHECKPOINT_DIR:-}" "${PIP_CACHE_DIR:-}"; do
    [ -z "$folder" ] || install -d -o "$FORCE_RUNNER_USER" -- "$folder"
done

# A file with a token, or a program that prints one: for a GitHub App, whose tokens are good for an hour.
if [ -x "$FORCE_RUNNER_TOKEN" ]; then
    token="$("$FORCE_RUNNER_TOKEN")"
else
    token="$(cat -- "$FORCE_RUNNER_TOKEN")"
fi
[[ "$token" =~ ^[A-Za-z0-9._-]+$ ]] || fail "what $FORCE_RUNNER_TOKEN holds is no token of GitHub"

# By standard input: the command line of a process can be read by everybody.
answer="$(printf 'header = "Authorization: Bearer %s"\n' "$token" | curl --disable --config - \
    --silent --show-error --fail --max-time 60 --request POST \
    --header 'Accept: application/vnd.github+json' --header 'X-GitHub-Api-Version: 2022-11-28' \
    "$FORCE_RUNNER_API")" || fail "no registration token from $FORCE_RUNNER_API"
[[ "$answer" =~ \"token\":\ *\"([A-Za-z0-9._-]+)\" ]] || fail "no token in the answer of $FORCE_RUNNER_API"
install -m 600 -o "$FORCE_RUNNER_USER" -- /dev/null "$run/registration"
printf '%s' "${BASH_REMATCH[1]}" >"$run/registration"
