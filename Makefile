# `make` prints this file's targets. The two that matter first: `make demo` and `make test`.
# CI runs these same targets and nothing else (.ci/run).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Programs that tools/setup fetches come before the machine's own; the cache of Python's bytecode stays out of the tree.
export PATH := $(CURDIR)/.run/tools/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## Print this help
	@echo 'Slipstream: CloudEvents in, signed webhooks out.'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'demo and test set up what they need: a Debian or Ubuntu with git, make, Python 3 and Rust will do.'

.PHONY: setup
setup: ## Fetch everything that demo and test need
	@tools/setup test

.PHONY: demo
demo: ## See it work: publish events, receive signed webhooks, watch retries
	@tools/setup demo
	@echo 'Building (the first time takes a few minutes):'
	@cargo build --package slipstream
	@cargo run --quiet --package slipstream -- demo

.PHONY: up
up: ## Run everything in one process, until Ctrl-C
	@tools/setup demo
	@cargo run --package slipstream -- up

.PHONY: test
test: ## Run every test, with real NATS and PostgreSQL
	@tools/setup test
	@echo 'Building programs and tests (the first time takes some minutes):'
	@cargo build --workspace --bins --tests
	@tools/doc-tests
	@tools/postgres run cargo nextest run --workspace

.PHONY: test-unit
test-unit: ## Run the tests inside the libraries only: no whole system, no other programs
	@tools/setup test
	@tools/postgres run cargo nextest run --workspace --lib --exclude slipstream-tests

.PHONY: test-api
test-api: ## Send what schemathesis makes of the OpenAPI documents to a running Slipstream
	@tools/setup api
	@cargo build --package slipstream
	@tools/test-api

.PHONY: lint
lint: ## Check format, lints and the dependency rules; warnings are errors
	@tools/setup lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	tools/check-dependencies
	cargo deny check --hide-inclusion-graph bans licenses sources

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

# For all of them: BENCH_ARGS='--quick' shows that it runs, '--json FILE' writes the figures to a file.
.PHONY: bench-build
bench-build:
	@tools/setup demo
	@echo 'Building for release (the first time takes ten minutes or more):'
	@cargo build --release --package slipstream --package slipstream-dispatcher --package slipstream-bench

.PHONY: bench
bench: bench-build ## Measure throughput and latency of release builds; figures, no verdict
	@cargo run --release --quiet --package slipstream-bench -- $(BENCH_ARGS)

.PHONY: bench-lanes
bench-lanes: bench-build ## Measure realtime while 100,000 normal events wait, and the reverse
	@cargo run --release --quiet --package slipstream-bench -- lanes $(BENCH_ARGS)

.PHONY: bench-schedule
bench-schedule: bench-build ## Measure how late 100,000 scheduled events come, and requests about them
	@cargo run --release --quiet --package slipstream-bench -- schedule $(BENCH_ARGS)

.PHONY: bench-isolation
bench-isolation: bench-build ## Measure what ten dead or dripping receivers cost forty others
	@cargo run --release --quiet --package slipstream-bench -- isolation $(BENCH_ARGS)

.PHONY: bench-ecg
bench-ecg: ## Measure the history of ECG posts with 1,000,000 activities, on PostgreSQL and on SQLite
	@tools/setup test
	@cargo build --release --package slipstream-bench --package slipstream-activity-log
	@tools/postgres run bash -c '"$${CARGO_TARGET_DIR:-target}/release/slipstream-bench" ecg --postgres "$$SLIPSTREAM_TEST_POSTGRES/postgres" $(BENCH_ARGS)'

.PHONY: ci
ci: lint test ## What CI runs: lint and test

.PHONY: deny
deny: ## Check licences and security advisories (fetches the database of advisories)
	@tools/setup lint
	cargo deny check --hide-inclusion-graph

.PHONY: doc
doc: ## Build the API documentation
	cargo doc --workspace --no-deps

.PHONY: clean
clean: ## Delete what was built and what tests fetched; the fetched programs stay
	cargo clean
	rm -rf .run/python .run/python-api .run/setup.log tests/interop/node_modules
