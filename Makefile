# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= var/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo run test fuzz access bench bench-api bench-prices bench-deposits bench-stream bench-peers bench-builder test-ostium-sdk sim kills crash-sender droid-run droid-crash soak check fmt schema lock contracts clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready npm/build/.stamp ## install everything that demo and tests need

$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, found {sys.version.split()[0]}" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@echo 'compiling the hot path, once: about a minute'
	@$(BIN)/python -m indexer.warm
	@touch $@

npm/node_modules/.ready: npm/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed for the local chain: install Node.js 20 or newer"; exit 1; }
	cd npm && npm ci --no-progress --loglevel=error
	@touch $@

npm/build/.stamp: npm/node_modules/.ready npm/compile.mjs $(wildcard contracts/solidity/*.sol)
	cd npm && node compile.mjs
	@touch $@

demo: setup ## run everything on a local chain with live traffic
	@exec $(BIN)/chainworkd demo --data-dir $(DATA)

run: $(VENV)/.ready ## run everything against your own node: CHAINWORKD_RPC_URL=http://… make run
	@exec $(BIN)/chainworkd run

test: setup ## run the tests, in as many processes as there are processors: WORKERS
	$(BIN)/python -m pytest --numprocesses $${WORKERS:-auto} --dist worksteal --durations 15 --durations-min 5

fuzz: setup ## send the API whatever its description allows and forbids: FUZZ_EXAMPLES a path
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-1000} $(BIN)/python -m pytest tests/api/test_fuzz.py tests/api/test_fuzz_people.py tests/builder/test_builder_fuzz.py --timeout 3000

access: setup ## print who gets to which route, as a walk over all of them finds it
	@$(BIN)/python -m pytest tests/api/test_access.py -q -s -k every_route_lets_in

bench-builder: $(VENV)/.ready ## measure the Ostium builder: prints JSON
	@$(BIN)/python -m tests.bench.builder

var/ostium-sdk/.ready:
	$(PYTHON) -m venv var/ostium-sdk
	var/ostium-sdk/bin/python -m pip install --quiet --disable-pip-version-check ostium-python-sdk==3.3.1
	@touch $@

test-ostium-sdk: $(VENV)/.ready var/ostium-sdk/.ready ## let the ABI of Ostium's own SDK read our calldata; it has an environment of its own
	$(BIN)/python -m pytest tests/sdk

sim: $(VENV)/.ready ## storms of faults: SEEDS (2,000) from SEED_START (0), JSON=1 for one line of JSON
	@$(BIN)/chainworkd simulate --seeds $${SEEDS:-2000} --seed-start $${SEED_START:-0} $(if $(JSON),--json)

kills: setup ## kill -9 of every process under load, RUNS (50) times, then compare all that is stored: prints JSON
	@$(BIN)/python -m tests.e2e.kills --runs $${RUNS:-50} --seed $${SEED:-1}

crash-sender: setup ## kill -9 of the sender at every step, RUNS (200) wallets, SEED (1), then ask the chain: prints JSON
	@$(BIN)/python -m tests.wallet.crash --runs $${RUNS:-200} --seed $${SEED:-1}

droid-run: setup ## a droid through STEPS (500) of its price in both token orders, SEED (1), ledger against chain: prints JSON
	@$(BIN)/python -m tests.robots.run --steps $${STEPS:-500} --seed $${SEED:-1}

droid-crash: setup ## kill -9 of droids' workers and senders, RUNS (200) wallets, SEED (1), then ask the chain: prints JSON
	@$(BIN)/python -m tests.robots.crash --runs $${RUNS:-200} --seed $${SEED:-1}

soak: setup ## does memory grow? the demo's load for MINUTES (60): prints JSON; SAMPLES=file keeps each look
	@$(BIN)/python -m tests.e2e.soak --minutes $${MINUTES:-60} $(if $(SAMPLES),--samples $(SAMPLES))

bench: setup ## measure: FIXTURE_BLOCKS traffic blocks (1,200), ONLY some of node,full,verified,growth,latency,head
	$(BIN)/python -m tests.bench run $(if $(ONLY),--only $(ONLY))

bench-api: $(VENV)/.ready ## measure the explorer over a million transactions, made once: prints JSON; API=1: one process, not one per core
	@$(BIN)/python -m tests.bench.explorer

bench-stream: $(VENV)/.ready ## measure how late facts are on the stream: prints JSON
	@$(BIN)/python -m tests.bench.stream

bench-prices: $(VENV)/.ready ## measure what USD values cost: BENCH_BLOCKS (15,000) stored; prints JSON
	@$(BIN)/python -m tests.bench.prices

bench-deposits: $(VENV)/.ready ## measure totals of vault deposits: DEPOSITS (1,000,000), PAIRS (12), ORPHANS (10,000); prints JSON
	@$(BIN)/python -m tests.bench.deposits

bench-peers: setup ## measure other indexers beside it: ONLY some of etl,cryo,subsquid,ponder; needs PyPI and npm
	$(BIN)/python -m tests.bench peers $(if $(ONLY),--only $(ONLY))

check: $(VENV)/.ready ## lint, types, imports and the house's own rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/arch -q

fmt: $(VENV)/.ready ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/.ready ## rewrite core/store/schema.sql from the migrations
	$(BIN)/python -m daemon.schema

contracts: npm/node_modules/.ready ## compile our Solidity again
	rm -rf npm/build && $(MAKE) npm/build/.stamp

lock: $(VENV)/.ready ## pin the Python packages that are installed now
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean: ## remove what set-up and runs have made, the demo's data included
	rm -rf $(VENV) npm/node_modules npm/build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis
