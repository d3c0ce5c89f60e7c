# The image that stages run in: Python and the locked requirements. The code is not in it: it is mounted when a stage
# runs, so that an edit builds nothing. Built by `force image build`, which lays out what is copied and mounted here.
ARG BASE=docker.io/nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE} AS python
# Bases that bring Python are left as they are, so that they need no network here.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    python3 -c 'import venv, ensurepip' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv; }

FROM python AS requirements
ARG TORCH
RUN python3 -m venv /opt/venv
# Wheels come from the folder wheelhouse/ alone where it has some: of torch's, that is the one for this machine (CPU,
# another CUDA). Otherwise they come from the index, torch's with CUDA. Every one of those has its hash in a lock.
RUN --mount=type=bind,source=wheelhouse,target=/wheelhouse \
    --mount=type=bind,source=train.lock,target=/train.lock \
    --mount=type=bind,source=cuda.lock,target=/cuda.lock \
    --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    install="/opt/venv/bin/pip install --disable-pip-version-check"; locked="--no-deps --require-hashes -r"; \
    if ls /wheelhouse/*.whl >/dev/null 2>&1; then \
        install="$install --no-index --find-links /wheelhouse"; torch="$TORCH"; \
    else \
        torch="$locked /cuda.lock"; \
    fi; \
    $install $locked /train.lock && $install $torch

FROM python
ARG DIGEST
ARG SOURCE
LABEL org.opencontainers.image.title="Force Build stages" \
      org.opencontainers.image.source="${SOURCE}" \
      force-build.digest="${DIGEST}"
COPY --from=requirements /opt/venv /opt/venv
COPY force /usr/local/bin/force
RUN useradd --create-home --uid 10001 force
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER force
