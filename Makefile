# make run: set up, run the common build and every example, compare.   make test: set up, check everything.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail
# The interpreter outside any environment: the one that is made here has no pip of its own.
PYTHON := $(shell python3 -c 'import sys; print(sys._base_executable)')
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
CHARTS := vega@6.4.0 vega-lite@6.4.3
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help extras install dev run test test-ci test-gpu test-vision check lint bench lock vendor clean

help:
	@sed -n 's/^#: //p' Makefile

#: make install set up .venv with what experiments need
install: $(VENV)/ready

#: make extras NAMES=onnx,sql  add to it what some formats, models and loggers need; docs say which
extras: $(VENV)/ready
	@[ -n "$(NAMES)" ] || { echo "hint: make extras NAMES=onnx,sql; pyproject.toml has all" >&2; exit 2; }
	$(PIP) install --no-build-isolation --editable '.[$(NAMES)]'
	@$(BIN)/python -c 'import torchmetrics' 2> /dev/null || { \
	    echo "error: the torchvision that this brought is for another build of torch, and keeps torchmetrics from starting" >&2; \
	    echo "hint: $(PIP) uninstall --yes torchvision, or install one for this build" >&2; exit 5; }

#: make dev     the same, with what tests, act and DVC's S3 need
dev: $(VENV)/ready-dev

#: make run     set up and run every experiment, then compare them
run: $(VENV)/ready
	force run --jobs $(JOBS)

#: make test    lint, types and every test: the slow flows, the workflows with act and Docker, pages in a browser
test: lint
	pytest -n 2 --dist worksteal -m "not docker and not browser and not gpu and not vision"
	$(MAKE) test-vision
	$(MAKE) test-ci

#: make test-ci the tests with Docker and a browser; on Debian, as root, it installs and starts what they need
test-ci: $(VENV)/ready-dev
	tests/workflows/engine.sh pytest -n 2 --dist loadfile -m "docker or browser"

#: make test-gpu the tests of the common code on this machine's GPU
test-gpu: $(VENV)/ready-dev
	pytest -m gpu tests/common

#: make test-vision the tests of what imports torchvision; it is installed beside .venv for them
test-vision: $(VENV)/ready-vision
	PYTHONPATH=$(CURDIR)/$(VENV)/vision python -m pytest -p tests.vision_operators -m vision tests/common

#: make check   lint, types and the fast tests
check: lint
	pytest -n 2 --dist worksteal -m "not slow and not docker and not browser and not gpu and not vision"

lint: $(VENV)/ready-dev
	ruff check . && ruff format --check .
	mypy
	force sync --check

#: make bench   the performance figures, each beside a peer
bench: $(VENV)/ready-dev
	tests/workflows/engine.sh python -m benchmarks

#: make lock    resolve the requirements again, and list anew what params may choose of torch and torchmetrics
lock: $(VENV)/ready-dev
	pip-compile $(LOCK_FLAGS) --build-deps-for editable --output-file requirements.lock pyproject.toml
	pip-compile $(LOCK_FLAGS) --build-deps-for editable --extra dev --extra s3 --constraint requirements.lock \
	    --output-file requirements-dev.lock pyproject.toml
	for name in docker/train .github/actions/setup/plan .github/actions/setup/report .github/actions/setup/run; do \
	    pip-compile $(LOCK_FLAGS) --constraint requirements-dev.lock --output-file $$name.lock $$name.in || exit; \
	done
	pip-compile $(LOCK_FLAGS) --no-annotate --constraint requirements-dev.lock --constraint <(echo $(TORCH)) --output-file - tests/vision.in \
	    | awk '/^[a-z]/ { kept = /^(onnx2pytorch|timm|torchvision)==/ } kept' > tests/vision.lock
	$(PYTHON) docker/lock_cuda.py $(TORCH) docker/train.lock > docker/cuda.lock
	python -m common.catalog > pipeline/catalog.json
	python -m common.layers > pipeline/schemas/architecture.schema.json

#: make vendor  take the library of the pages' charts from npm again; SHA256SUMS says which
vendor:
	cd pipeline/pages/static/vendor && for package in $(CHARTS); do \
	    name=$${package%@*} && npm pack --silent $$package | xargs tar xzf && sed '/sourceMappingURL/d' package/build/$$name.min.js > $$name.min.js \
	    && cp package/LICENSE $$name.LICENSE && rm -r package $$name-*.tgz || exit; \
	done && sha256sum --check SHA256SUMS

# torch's wheel differs from machine to machine (CPU, CUDA), so these leave it out; docker/cuda.lock has the image's.
LOCK_FLAGS := --quiet --generate-hashes --strip-extras --unsafe-package torch \
    --no-emit-index-url --no-emit-find-links --no-header

# The environment is made without its own pip: Debian's python3 alone has no ensurepip.
$(VENV)/bin/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/ready: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) install $(TORCH)
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	touch $@

$(VENV)/ready-vision: $(VENV)/ready-dev tests/vision.lock
	$(PIP) install --no-deps --require-hashes --target $(VENV)/vision --upgrade -r tests/vision.lock
	touch $@

clean:
	rm -rf $(VENV) .force
