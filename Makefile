# Every target works from a fresh clone: the first one that needs it sets up .venv from the locked requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := evidence eventstore projections runs runner api cli client witness verifier

.PHONY: help setup setup-dev demo test check sdists browser screenshots dashboard-figures bench bench-setup crash fuzz conformance matrix races schemathesis docs vectors verifier format clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("CrowNest needs Python 3.11 or newer, found " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked runtime dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "installing the locked development dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.runtime ## the runtime in .venv: .venv/bin/crownest works afterwards
setup-dev: $(VENV)/.dev ## runtime and development tools in .venv

demo: setup ## one run from archive to verified evidence (DEMO_DIR=... keeps the data there)
	@$(BIN)/crownest demo $(if $(DEMO_DIR),--data $(DEMO_DIR),)

test: setup-dev ## the test suite (TEST_JOBS=4 at a time, each file in one of them)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(or $(TEST_JOBS),4) --dist loadfile --no-loadscope-reorder

check: setup-dev ## format, lint, imports, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --no-cache . # a cached verdict misses that a package appeared beside the file
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

browser: setup-dev ## the dashboard in a real Chromium (BROWSER_ARGS="-k entrance"; CROWNEST_CHROMIUM=/path)
	@$(BIN)/python -m pytest tests/browser --numprocesses $(or $(BROWSER_JOBS),3) --dist loadfile $(BROWSER_ARGS)

screenshots: setup-dev ## every page at 360 and 1440, light and dark, into screenshots/ (SCREENSHOTS_ARGS="--only run")
	@$(BIN)/python -m tests.browser.screenshots $(SCREENSHOTS_ARGS)

dashboard-figures: setup-dev ## how quickly the log of a run is shown and scrolled (FIGURES_ARGS="--lines 50000 --rounds 5")
	@$(BIN)/python -m tests.browser.figures $(FIGURES_ARGS)

sdists: setup-dev ## run others' source distributions through run-archive (downloads them)
	@$(BIN)/python -m tests.interop.sdists

bench-setup: ## what the benches measure us against: servers of others, and .venv-bench
	@PYTHON=$(PYTHON) sh bench/setup.sh

bench: bench-setup ## figures beside others' in one interleaved run (BENCH_ARGS="--only append --peers redis --short")
	@.venv-bench/bin/python -m bench $(BENCH_ARGS)

crash: setup-dev ## kill -9 and power cuts under load (CRASH_KILLS=100 CRASH_CUTS=50)
	@$(BIN)/python -m tests.simulation.crash --kills $(or $(CRASH_KILLS),100) --cuts $(or $(CRASH_CUTS),50) $(if $(CRASH_SEED),--seed $(CRASH_SEED),)
	@$(BIN)/python -m pytest tests/simulation

fuzz: setup-dev ## change a proof in tens of thousands of ways, of which none may pass (FUZZ_MUTATIONS=10000)
	@$(BIN)/python -m tests.fuzz.fuzz --mutations $(or $(FUZZ_MUTATIONS),10000) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED),)
	@HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest tests/tampering tests/property/test_evidence_spans.py tests/property/test_runner_masking.py

conformance: setup-dev ## every rule of the HTTP contract, and servers that break it (CONFORMANCE_ARGS="--url U --key K")
	@$(BIN)/python -m tests.conformance $(CONFORMANCE_ARGS)
	@$(if $(CONFORMANCE_ARGS),:,$(BIN)/python -m pytest tests/conformance tests/cli/test_smoke_sabotage.py)

matrix: setup-dev ## every operation against every tenant that may not do it (MATRIX_ARGS="--only Sandbox")
	@$(BIN)/python -m tests.isolation $(MATRIX_ARGS)
	@$(if $(MATRIX_ARGS),:,$(BIN)/python -m pytest tests/isolation)

races: setup-dev ## identical requests at once: one effect, one answer (RACES_KEYS=50 RACES_RACERS=64 RACES_KILLS=10)
	@$(BIN)/python -m tests.races --keys $(or $(RACES_KEYS),50) --racers $(or $(RACES_RACERS),64) --kills $(or $(RACES_KILLS),10) $(if $(RACES_SEED),--seed $(RACES_SEED),)
	@$(BIN)/python -m pytest tests/races

schemathesis: setup-dev ## thousands of requests made from the OpenAPI document (CASES=5000 SEED=...)
	@$(BIN)/python -m tests.openapi --cases $(or $(CASES),5000) $(if $(SEED),--seed $(SEED),)

docs: setup-dev ## write docs/cli.md anew from the help
	@$(BIN)/python -m cli.docs > docs/cli.md

verifier: ## the single file dist/crownest-verify, for auditors (runs with python3 and cryptography)
	@$(PYTHON) -m verifier.pack dist/crownest-verify

vectors: setup-dev ## write docs/spec/vectors anew
	@$(BIN)/python -m tests.spec.vectors

format: setup-dev ## let the formatter and the fixable lints do their work
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove the environment and caches
	rm -rf $(VENV) .venv-bench bench/peers/durable-streams/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
