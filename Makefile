# What people and CI run here. `make` alone lists it.

.ONESHELL:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# ---------------------------------------------------------------------------------------------------------------- demo
# A tree on this machine: machines are processes, everything they leave lies in one folder.

DEMO := $(TARGET)/demo
COORD := HOMESTAK_STATE_DIR=$(DEMO) $(TARGET)/debug/homestak-coord

# The demo is the same for everybody, whatever the shell that it is started from is set up for.
export HOMESTAK_SITE_CONFIG := demo
unexport HOMESTAK_STATE_DIR HOMESTAK_PORT HOMESTAK_SERVER HOMESTAK_TOKEN HOMESTAK_CA HOMESTAK_LOCAL_FAULTS HOMESTAK_CRASH_AT

.PHONY: demo
demo: build ## Builds a tree of two levels on this machine and shows it
	@say() { echo "$$ homestak-coord $$*"; $(COORD) "$$@"; echo; }
	say apply n2-tiered
	say status n2-tiered
	say agents
	echo "Still running: the coordinator and the agents above, with all that they wrote in $(DEMO)."
	echo "Look around with  export HOMESTAK_STATE_DIR=$(DEMO) PATH=$(TARGET)/debug:\$$PATH"
	echo "End it with       make demo-stop"

.PHONY: demo-stop
demo-stop: ## Destroys what `make demo` built, stops its coordinator and removes its folder
	@if [ ! -d "$(DEMO)" ]; then echo "No demo is running."; exit 0; fi
	# every recorded tree, also those that were added by hand since
	trees=$$($(COORD) status --json -q | { grep -oE '"manifest": *"[^"]+"' || true; } | cut -d'"' -f4 | sort -u)
	for tree in $$trees; do $(COORD) destroy "$$tree" --yes; done
	$(COORD) server stop
	state=0; $(COORD) server status >/dev/null 2>&1 || state=$$?
	if [ "$$state" -ne 1 ]; then echo "The coordinator still runs; its log is in $(DEMO)." >&2; exit 1; fi
	rm -rf "$(DEMO)"
	echo "Nothing of the demo remains."

# --------------------------------------------------------------------------------------------------------------- build

.PHONY: build
build: needs ## Builds both programs
	$(CARGO) build --locked -p homestak-coord -p homestak-agent

.PHONY: test
test: test-needs fakepve ansible ## Runs every test
	$(CARGO) test --locked --workspace --no-fail-fast

.PHONY: lint
lint: needs ## Formatting, clippy, documentation, and what may be depended on
	@set -x
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --workspace --no-deps --quiet
	$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked --version '^0.20'
	$(CARGO) deny --locked check bans licenses sources

.PHONY: bench
bench: needs fakepve ansible ## Measures, with what it replaces beside it
	$(CARGO) bench --locked --workspace --bench '*'

# ---------------------------------------------------------------------------------------------------------------- fuzz

FUZZ_TARGETS := frame message token manifest
# The target of the coordinator's own code, which takes minutes to build: `make fuzz` only.
SLOW_FUZZ_TARGETS := sops
RUNS ?= 1000000

.PHONY: fuzz-smoke
fuzz-smoke: FUZZ_LIMIT := -max_total_time=5
fuzz-smoke: $(FUZZ_TARGETS:%=fuzz-target-%) ## Runs each fuzz target for a few seconds

.PHONY: fuzz
fuzz: FUZZ_LIMIT := -runs=$(RUNS)
fuzz: $(FUZZ_TARGETS:%=fuzz-target-%) $(SLOW_FUZZ_TARGETS:%=fuzz-target-%) ## Runs each fuzz target RUNS times (a million)

# libFuzzer's instrumentation is a compiler flag of the nightly channel; RUSTC_BOOTSTRAP lets the stable compiler take it.
fuzz-target-%: SEEDS = fuzz/seeds/$*
fuzz-target-manifest: SEEDS = fuzz/seeds/manifest manifests/catalog
fuzz-target-sops: FEATURES = --features sops
fuzz-target-%: fuzz-needs
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked --version '^0.13'
	mkdir -p fuzz/corpus/$*
	echo "fuzz: $*"
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $(FEATURES) $* fuzz/corpus/$* $(SEEDS) -- \
		$(FUZZ_LIMIT) -timeout=5 -malloc_limit_mb=64 -verbosity=0 -print_funcs=0 -print_final_stats=1 2>&1 \
		| { grep -vE "# Uses:|Recommended|recommended" || true; }

# -------------------------------------------------------------------------------------------------------------- around

# A fake of PVE's API that tests talk to: a program of its own, which nothing here is linked with.
FAKEPVE := fakepve==0.5.0

.PHONY: fakepve
fakepve: $(TARGET)/fakepve/bin/fakepve ## Installs the fake Proxmox VE host that tests run against
$(TARGET)/fakepve/bin/fakepve: | test-needs
	python3 -m venv "$(TARGET)/fakepve"
	"$(TARGET)/fakepve/bin/pip" install --quiet --disable-pip-version-check "$(FAKEPVE)"

# What the other backend of `config apply` is tested and measured with, for the Python of the Debian that it runs in.
ANSIBLE := ansible-core==2.18.19

.PHONY: ansible
ansible: $(TARGET)/ansible/bin/ansible-playbook ## Fetches the ansible-core that tests run in their Debian
$(TARGET)/ansible/bin/ansible-playbook: | $(TARGET)/fakepve/bin/fakepve
	"$(TARGET)/fakepve/bin/pip" install --quiet --disable-pip-version-check --root-user-action ignore \
		--target "$(TARGET)/ansible" --python-version 3.11 --only-binary=:all: "$(ANSIBLE)"

# What `missing` lists, from Debian's archive.
define install_missing
	if [ "$${#missing[@]}" -gt 0 ]; then
		if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
			echo "install these first: $${missing[*]}" >&2; exit 1
		fi
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"
	fi
endef

# A linker and a C compiler for ring and SQLite.
.PHONY: needs
needs:
	@missing=()
	command -v cc >/dev/null || missing+=(gcc libc6-dev)
	$(install_missing)

# A C++ compiler for libFuzzer.
.PHONY: fuzz-needs
fuzz-needs: needs
	@missing=()
	command -v c++ >/dev/null || missing+=(g++)
	$(install_missing)

.PHONY: test-needs
test-needs: needs
	@missing=()
	# What boots the real machines of the tests: a Debian, containers with systemd, a network and a package archive.
	command -v debootstrap >/dev/null || missing+=(debootstrap)
	command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
	command -v dpkg-scanpackages >/dev/null || missing+=(dpkg-dev)
	command -v ip >/dev/null || missing+=(iproute2)
	command -v setpriv >/dev/null && command -v nsenter >/dev/null || missing+=(util-linux)
	# What tests talk through: curl to endpoints, git to repositories, a terminal; and the venv of the fake host.
	command -v curl >/dev/null || missing+=(curl)
	command -v git >/dev/null || missing+=(git)
	command -v script >/dev/null || missing+=(bsdutils)
	python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
	# It encrypts what is read here, and reads what is encrypted here.
	command -v age >/dev/null || missing+=(age)
	$(install_missing)

.PHONY: fmt
fmt: ## Formats the sources
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
