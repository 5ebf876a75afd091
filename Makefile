# One word for each thing one does here; `make help` lists them. CARGO_TARGET_DIR is honoured when it is set.

.DEFAULT_GOAL := help
.PHONY: help run test check fmt bench faults docs release clean
SHELL := /bin/bash
CARGO ?= cargo

help: ## lists these words
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: ## installs what is missing, builds, starts the server (ARGS="--listen 127.0.0.1:9000")
	@scripts/install-system-packages
	$(CARGO) run --bin mastra-admin -- serve $(ARGS)

test: ## installs what is missing, runs every test
	@scripts/install-system-packages --tests
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast

check: ## format, lints, documentation, licences, unused dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items
	@for tool in deny machete; do \
		$(CARGO) $$tool --version >/dev/null 2>&1 || \
			{ echo "cargo-$$tool is missing. Run: cargo install --locked cargo-$$tool"; exit 1; }; \
	done
	$(CARGO) deny check bans licenses sources
	@if $(CARGO) deny fetch db >/dev/null 2>&1; then \
		$(CARGO) deny check advisories; \
	else \
		echo "The advisory database cannot be reached: advisories are not checked."; \
	fi
	$(CARGO) machete

fmt: ## formats everything
	$(CARGO) fmt --all

bench: ## measures, prints ratios, writes bench-results.json
	$(CARGO) build --release --workspace --bins
	$(CARGO) bench --package tests --bench bench --bench ledger

faults: ## kills the server at every step and looks what is left, at length
	FAULTS=all $(CARGO) test --package tests --test faults --test siege

docs: ## the documentation of the code, as a book to click through
	$(CARGO) doc --workspace --no-deps --document-private-items --open

release: ## builds the programs that are shipped
	$(CARGO) build --release --workspace --bins

clean: ## removes what was built, never ./data
	$(CARGO) clean
