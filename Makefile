# The way into the project: `make help` lists what can be asked of it.
# Needs Rust (rust-toolchain.toml), Python 3.11, a C compiler and make; everything else is installed below .venv/.

PYTHON ?= $(firstword $(shell command -v python3.11) python3)
CARGO ?= cargo
# The stack, the demo and the tests look for the programs here.
export CARGO_TARGET_DIR := $(CURDIR)/target
FUNCTIONS := ingest summarize reconcile heartbeat publish bill status register trust
STACK := .venv/stack/bin/python -m stack $(if $(STATE_DIR),--state-dir $(STATE_DIR))
PIP := pip install --quiet --disable-pip-version-check --requirement

# The installation on the local stack.
CUSTOMER ?= acme
STAGE ?= dev
# Processor of the AWS build: arm64 or x86_64.
ARCH ?= arm64

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# ---------------------------------------------------------------- tools

.PHONY: setup
setup: .venv/stack/.installed .venv/sam/.installed softhsm fabric-client ## install the pinned tools

# A token for the tests of keys by PKCS#11. Who is not root on Debian installs it by hand, or goes without these tests.
.PHONY: softhsm
softhsm:
	@if command -v softhsm2-util >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends softhsm2; \
	else echo "softhsm2 is not installed: the tests of keys by PKCS#11 will say that they did not run" >&2; fi

# Fabric's own client, which the ledger is tested with. Who has no Node.js goes without this test.
NODE_MODULES := tests/fabric_client/node_modules
.PHONY: fabric-client
fabric-client: $(if $(shell command -v npm),$(NODE_MODULES)/.package-lock.json)
	@command -v npm >/dev/null || echo "Node.js is not installed: the test with Fabric's own client will say that it did not run" >&2

$(NODE_MODULES)/.package-lock.json: tests/fabric_client/package-lock.json
	npm ci --prefix tests/fabric_client --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.venv/%/.installed: tools/stack/requirements-%.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11, for which the tools are pinned: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/$(PIP) $<
	@# What is in tools/ can be imported, wherever the clone lies.
	@test $* != stack || echo ../../../../../tools > "$$(echo .venv/stack/lib/python3*/site-packages)/vitro-tools.pth"
	@touch $@

.venv/sam/.packaging: tools/stack/requirements-package.txt .venv/sam/.installed
	.venv/sam/bin/$(PIP) $<
	@touch $@

# ---------------------------------------------------------------- build

.PHONY: build
build: ## build every program, and the functions' packages for the local stack
	$(CARGO) build --workspace --bins --locked
	@$(foreach f,$(FUNCTIONS),mkdir -p target/lambda/$(f) && \
		strip -o target/lambda/$(f)/.bootstrap target/debug/$(f) && \
		mv target/lambda/$(f)/.bootstrap target/lambda/$(f)/bootstrap &&) true

.PHONY: package
package: .venv/sam/.packaging ## build the functions' packages for AWS (ARCH=arm64 or x86_64), for `sam deploy`
	PATH="$(CURDIR)/.venv/sam/bin:$$PATH" .venv/sam/bin/cargo-lambda lambda build --release --locked \
		$(if $(filter x86_64,$(ARCH)),--x86-64,--arm64) --lambda-dir target/lambda \
		$(foreach f,$(FUNCTIONS),--package vitro-$(f))
	@$(foreach f,$(FUNCTIONS),test -x target/lambda/$(f)/bootstrap &&) ls -l $(FUNCTIONS:%=target/lambda/%/bootstrap)

.PHONY: deploy
deploy: package ## build for AWS and `sam deploy` there (CUSTOMER=acme STAGE=prod), asking before anything changes
	.venv/sam/bin/sam deploy --stack-name vitro-$(CUSTOMER)-$(STAGE) \
		--parameter-overrides Customer=$(CUSTOMER) Stage=$(STAGE) Architecture=$(ARCH)

# The program for a peer: linked statically (against this machine's libc.a), so that it runs in any Linux image. What the build's folders are
# called stays out of it: the same sources, toolchain and libc give the same bytes.
CHAINCODE_TARGET := $(shell uname -m)-unknown-linux-gnu
CHAINCODE_VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Where peers reach the chaincode when it runs as a service.
CHAINCODE_ADDRESS ?= vitro-chaincode:7052

.PHONY: chaincode
chaincode: ## build the chaincode and its packages into target/packages (CHAINCODE_ADDRESS=host:port as a service)
	RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=/vitro \
		--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" CARGO_INCREMENTAL=0 \
		$(CARGO) build --locked --package vitro-chaincode --profile chaincode --target $(CHAINCODE_TARGET)
	$(PYTHON) tools/chaincode_package.py --version $(CHAINCODE_VERSION) --address $(CHAINCODE_ADDRESS) \
		--program target/$(CHAINCODE_TARGET)/chaincode/vitro-chaincode --out target/packages $(CHAINCODE_TLS)

# ---------------------------------------------------------------- local stack

.PHONY: up
up: setup build ## start the local stack, deploy template.yaml to it, leave it running
	@$(STACK) up $(if $(PORT),--port $(PORT)) $(if $(MQTT_PORT),--mqtt-port $(MQTT_PORT))
	@$(MAKE) --no-print-directory deploy-local
	@$(STACK) hints --customer $(CUSTOMER) --stage $(STAGE)

.PHONY: deploy-local
deploy-local: setup ## deploy template.yaml to the running local stack (CUSTOMER=acme STAGE=dev)
	@$(STACK) deploy --customer $(CUSTOMER) --stage $(STAGE) $(foreach p,$(PARAMETERS),--parameter $(p))

.PHONY: down
down: ## stop what `make up` started
	@test ! -x .venv/stack/bin/python || $(STACK) down

.PHONY: demo
demo: setup build ## replay a recorded day end to end (or RECORDING=f.csv SENSORS=f.toml ZONE=... DAY=...)
	.venv/stack/bin/python -m demo $(if $(RECORDING),--recording "$(RECORDING)") \
		$(if $(SENSORS),--sensors "$(SENSORS)") $(if $(ZONE),--zone "$(ZONE)") $(if $(DAY),--day "$(DAY)")

# ---------------------------------------------------------------- checks

.PHONY: lint
lint: setup lint-rust lint-python lint-template ## format, clippy, docs, ruff, the template: warnings are errors

.PHONY: lint-rust
lint-rust:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

.PHONY: lint-python
lint-python: .venv/stack/.installed
	.venv/stack/bin/ruff format --check
	.venv/stack/bin/ruff check

.PHONY: lint-template
lint-template: .venv/sam/.installed
	AWS_DEFAULT_REGION=eu-central-1 .venv/sam/bin/cfn-lint template.yaml
	AWS_DEFAULT_REGION=eu-central-1 SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam validate --lint

.PHONY: test
test: setup build ## every test: Rust, the template, the local stack end to end
	$(CARGO) test --workspace --locked
	.venv/stack/bin/pytest

.PHONY: test-fabric
test-fabric: chaincode ## ledger tests on a real Fabric network (FABRIC_BIN=folder of peer, orderer, ...; FABRIC_CONFIG=folder of core.yaml)
	@test -n "$(FABRIC_BIN)" -a -n "$(FABRIC_CONFIG)" || { echo "FABRIC_BIN and FABRIC_CONFIG are needed: tests/fabric/README.md" >&2; exit 1; }
	@# One organization's peer runs this one where organizations disagree.
	$(CARGO) build --locked --package vitro-chaincode --example contrary
	FABRIC_BIN="$(FABRIC_BIN)" FABRIC_CONFIG="$(FABRIC_CONFIG)" \
		VITRO_CHAINCODE="$(CURDIR)/target/$(CHAINCODE_TARGET)/chaincode/vitro-chaincode" \
		$(CARGO) test --locked --package vitro-chaincode --test fabric -- --ignored --nocapture

.PHONY: bench
bench: ## the Criterion benchmarks
	$(CARGO) bench --workspace --locked

# ---------------------------------------------------------------- fuzzing (docs/fuzzing.md)

FUZZ_TARGETS := envelope pack block command encrypted chain
TARGETS ?= $(FUZZ_TARGETS)
SECONDS ?= 600
CARGO_FUZZ := .venv/cargo/bin/cargo-fuzz
# No sanitizer: there is no unsafe code to watch, and without one it runs on the one toolchain. Overflows and assertions do panic.
FUZZ = PATH="$(CURDIR)/.venv/cargo/bin:$$PATH" $(CARGO) fuzz run --sanitizer none --target-dir fuzz/target

$(CARGO_FUZZ):
	$(CARGO) install --locked cargo-fuzz --version 0.13.2 --root .venv/cargo --target-dir target/cargo-fuzz

.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## run the fuzz targets (TARGETS="pack block" SECONDS=600), a finding ends it
	@mkdir -p $(TARGETS:%=target/fuzz/found/%) $(TARGETS:%=target/fuzz/vectors/%)
	@$(foreach t,$(TARGETS),echo "== $(t)" && $(FUZZ) $(t) target/fuzz/found/$(t) fuzz/corpus/$(t) fuzz/seeds/$(t) target/fuzz/vectors/$(t) -- \
		-max_total_time=$(SECONDS) -max_len=20000 -timeout=10 -print_final_stats=1 &&) true

# Every edge that is reached stays reached, by as few and as small inputs as can be.
.PHONY: fuzz-corpus
fuzz-corpus: $(CARGO_FUZZ) ## make the corpus anew from what was found (TARGETS="pack block")
	@$(foreach t,$(TARGETS),rm -rf target/fuzz/corpus/$(t) && mkdir -p target/fuzz/corpus/$(t) target/fuzz/found/$(t) && \
		$(FUZZ) $(t) target/fuzz/corpus/$(t) fuzz/seeds/$(t) fuzz/corpus/$(t) target/fuzz/found/$(t) -- \
		-set_cover_merge=1 -use_counters=0 -max_len=2500 && \
		rm -rf fuzz/corpus/$(t) && mv target/fuzz/corpus/$(t) fuzz/corpus/$(t) &&) true

.PHONY: fuzz-vectors
fuzz-vectors: ## lay the test vectors out as inputs, for the next `make fuzz`
	$(CARGO) test --package vitro-proof --features chain --test proof --locked -- --ignored fuzz::lay_out_the_vectors
