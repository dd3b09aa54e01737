# Everything a newcomer needs: `make start` runs the dashboard, `make test` runs what CI runs.
#
# The server is built in one of two profiles of Cargo.toml. `quick`, without link-time optimisation, is what `make start`
# and the browser's tests run; `release` is what `make build` leaves for others and what `make bench` measures. The page,
# whose size counts, is built once for both.
#
# Each target installs what it needs and only that. Tools are pinned: wasm-bindgen must equal the crate's version to
# the patch. The page is built with cargo and four small tools; cargo-leptos, which takes longer to install than all the
# rest to build, is only needed for `make dev`.

WASM_BINDGEN_VERSION := 0.2.129
CARGO_LEPTOS_VERSION := 0.3.10
CARGO_DENY_VERSION   := 0.20.2

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# The steps share cargo's lock and two cores; run side by side they only wait for each other.
.NOTPARALLEL:
.DEFAULT_GOAL := help

# wasm-opt and esbuild come from npm, and `cargo install` may put tools where PATH does not look.
export PATH := $(CURDIR)/node_modules/.bin:$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
# The browser comes from the system, see `chromium` below.
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1

# Larger transcripts to test against, where they are at hand; without them those tests show as ignored.
DASHBOARD_SAMPLES ?= $(wildcard $(abspath ../shared/samples))
ifneq ($(DASHBOARD_SAMPLES),)
export DASHBOARD_SAMPLES
test_args := -- --include-ignored
else
unexport DASHBOARD_SAMPLES
endif

binary    := target/release/dashboard
quick     := target/quick/dashboard
page      := target/site/pkg/dashboard.wasm
worker    := target/site/pkg/worker.wasm

# The server's packages. Not the whole workspace: `ssr` and `csr` would unify. The page is WASM and built as that.
native := -p dashboard-core -p app -p server
wasm   := -p dashboard-core -p app -p frontend -p worker --target wasm32-unknown-unknown

sources = $(shell find $(1) -type f -not -name '.*')
manifests    := Cargo.toml Cargo.lock rust-toolchain.toml $(wildcard */Cargo.toml */*/Cargo.toml)
page_sources := Makefile package-lock.json $(manifests) .cargo/config.toml \
	$(filter-out app/tests/% app/core/tests/%,$(call sources,app frontend style public))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: start
start: $(quick) ## Build and run the dashboard on your sessions; options: make start ARGS="--port 4000"
	exec $(quick) start $(ARGS)

.PHONY: build
build: $(binary) ## Build the self-contained binary target/release/dashboard

.PHONY: dev
dev: page-tools cargo-leptos ## Run with live reload: rebuilds on every change
	exec cargo leptos watch

.PHONY: demo
demo: $(quick) ## Build the static demo site in target/demo
	rm -rf target/demo
	$(quick) demo --out target/demo

.PHONY: page
page: $(page) $(worker) ## Build the page and its worker alone, in target/site

.PHONY: worker
worker: $(worker) ## Build the worker alone: the demo needs it beside the page of `make dev`

.PHONY: size
size: $(page) $(worker) ## Show what the page and its worker weigh, by crate
	@node frontend/size.mjs target/site target/wasm32-unknown-unknown/wasm-release/frontend.wasm \
		target/wasm32-unknown-unknown/wasm-release/worker.wasm

.PHONY: check
check: rust-components ## Check quickly while working: format, lints, tests of the core
	cargo fmt --all --check
	cargo clippy $(native) --all-targets --locked -- -D warnings
	cargo test -p dashboard-core --locked

.PHONY: test
test: rust-components page-tools cargo-deny chromium ## Run everything CI runs, the browser's tests included
	cargo fmt --all --check
	tsc --project end2end
	cargo deny check --hide-inclusion-graph licenses bans sources
	cargo clippy $(native) --all-targets --locked -- -D warnings
	cargo clippy $(wasm) --features frontend/csr --locked -- -D warnings
	cargo test $(native) --locked $(test_args)
	cargo test -p dashboard-core --target wasm32-unknown-unknown --locked
	@$(MAKE) --no-print-directory $(quick)
	DASHBOARD_BINARY=$(quick) playwright test --config end2end

.PHONY: bench
bench: build chromium ## Measure: reading beside well-known tools, and a written line to changed pixels (prints, never gates)
	DASHBOARD_BINARY=$(binary) playwright test --config end2end/bench.config.ts

.PHONY: backtest
backtest: ## Score the forecast on windows that are over; DATA=DIR: a configuration directory's, instead of made-up days
	@cargo run --quiet --locked -p server -- backtest $(if $(DATA),--config-dir '$(DATA)') $(ARGS)

# The coverage that libFuzzer steers by is a pass of LLVM: no nightly compiler and no cargo-fuzz are needed.
coverage := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table \
	trace-compares) -Ccodegen-units=1 --cfg fuzzing
fuzz_target := x86_64-unknown-linux-gnu
MINUTES ?= 10

.PHONY: fuzz
fuzz: ## Fuzz each parser for MINUTES=10, keeping what was found interesting in fuzz/corpus (Linux)
	cd fuzz && RUSTFLAGS='$(coverage)' cargo build --release --target $(fuzz_target)
	cd fuzz && for parser in claude codex gemini opencode pi copilot; do \
		mkdir -p corpus/$$parser artifacts && target/$(fuzz_target)/release/$$parser corpus/$$parser seeds/$$parser \
			-max_total_time=$$(( $(MINUTES) * 60 )) -max_len=8192 -rss_limit_mb=512 -print_final_stats=1 \
			-artifact_prefix=artifacts/$$parser- || exit; \
	done

# ---- The binary and the page inside it ------------------------------------------------------------------------------

$(binary) $(quick): target/%/dashboard: $(page) $(worker) $(call sources,server)
	cargo build --profile $* --locked -p server --features embed
	@touch $@

# Names and places are those of cargo-leptos, which the server and `make dev` go by. The views hide their types, which
# makes the code smaller. -Os, because what is left of -Oz compresses worse; -tnh, because nothing here relies on a trap.
compile := cargo build --profile wasm-release --target wasm32-unknown-unknown --locked \
	--config 'target.wasm32-unknown-unknown.rustflags=["--cfg", "erase_components"]'
features := --enable-bulk-memory --enable-mutable-globals --enable-nontrapping-float-to-int --enable-sign-ext \
	--enable-reference-types --enable-multivalue
minify := esbuild --minify --format=esm --log-level=warning

# $(call bind,LIBRARY,NAME): what cargo has compiled, as NAME.wasm and NAME.js of the site.
define bind
	@mkdir -p target/site/pkg
	wasm-bindgen --target web --no-typescript --remove-name-section --out-dir target/bindgen --out-name $(2) \
		target/wasm32-unknown-unknown/wasm-release/$(1).wasm
	wasm-opt -Os -tnh -lmu --converge $(features) target/bindgen/$(2)_bg.wasm -o target/site/pkg/$(2).wasm
	$(minify) target/bindgen/$(2).js --outfile=target/site/pkg/$(2).js
endef

$(page): $(page_sources) | page-tools
	$(compile) -p frontend --features csr
	$(call bind,frontend,dashboard)
	cp public/* target/site/
	$(minify) public/loader.js --outfile=target/site/loader.js --allow-overwrite
	$(minify) --bundle style/main.css --outfile=target/site/pkg/dashboard.css
	@touch $@

$(worker): $(page_sources) | page-tools
	$(compile) -p worker
	$(call bind,worker,worker)
	$(minify) public/worker.js --outfile=target/site/worker.js --allow-overwrite
	@touch $@

# ---- Tools: each is installed when missing or of another version -----------------------------------------------------

# Built for a quick install: cargo-leptos alone would spend minutes in link-time optimisation.
quick_install := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	cargo install --locked

.PHONY: page-tools
page-tools: wasm-target wasm-bindgen node_modules/.package-lock.json

.PHONY: rust-components
rust-components:
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy

.PHONY: wasm-target
wasm-target:
	@test -d "$$(rustc --print target-libdir --target wasm32-unknown-unknown)" || rustup target add wasm32-unknown-unknown

.PHONY: wasm-bindgen
wasm-bindgen:
	@wasm-bindgen --version 2>/dev/null | grep -qwF $(WASM_BINDGEN_VERSION) \
		|| $(quick_install) wasm-bindgen-cli@$(WASM_BINDGEN_VERSION)

.PHONY: cargo-leptos
cargo-leptos:
	@cargo leptos --version 2>/dev/null | grep -qwF $(CARGO_LEPTOS_VERSION) \
		|| $(quick_install) cargo-leptos@$(CARGO_LEPTOS_VERSION) --features no_downloads

.PHONY: cargo-deny
cargo-deny:
	@cargo deny --version 2>/dev/null | grep -qwF $(CARGO_DENY_VERSION) \
		|| $(quick_install) cargo-deny@$(CARGO_DENY_VERSION)

# npm writes this file when it is done.
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

.PHONY: chromium
chromium: node_modules/.package-lock.json
	@if [[ -x "$${CHROMIUM:-/usr/bin/chromium}" ]]; then exit; fi; \
	if [[ "$$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium; \
	else \
		echo 'The browser tests need Chromium: install it (Debian: sudo apt-get install chromium)' >&2; \
		echo 'at /usr/bin/chromium, or set CHROMIUM to its path.' >&2; \
		exit 1; \
	fi
