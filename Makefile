# `make run` and `make test` do all set-up on a fresh machine; `make setup` is the part they share.
.PHONY: setup run test lint figures lock clean

PY := .venv/bin/python

# GPU=1 adds the CUDA libraries for NVIDIA's GPUs, by a lock that has all of the other; so it touches both stamps.
VARIANT := $(if $(filter 1,$(GPU)),-gpu)
STAMP := .venv/.installed$(VARIANT)

# The first interpreter for which TensorFlow has wheels; PYTHON=... names another.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)

setup: $(STAMP)
	@$(PY) -m recipes

$(STAMP): requirements$(VARIANT).txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	{ echo "Kerasserole needs Python 3.11, 3.12 or 3.13 (TensorFlow has wheels for these): install one, or name it by PYTHON=/path/to/python3.12." >&2; exit 1; }
	@echo "Setting up .venv; a few minutes the first time" >&2
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -r $<
	@touch .venv/.installed $@

run: setup
	@$(PY) cli.py run sentiment
	@echo "These commands want the environment first: . .venv/bin/activate" >&2

test: setup lint
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 40

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Anew: the measured scores and times of every recipe, and the tables made from them.
figures: setup
	@$(PY) benchmarks/measure.py

# Anew from requirements.in, the same for GPUs, and for the benchmarks; uv must be installed. No index address enters a
# file.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" requirements.in --output-file requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" requirements-gpu.in -c requirements.txt --output-file requirements-gpu.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" benchmarks/requirements.in -c requirements.txt \
	  --output-file benchmarks/requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" benchmarks/opennmt.in --output-file benchmarks/opennmt.txt

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
