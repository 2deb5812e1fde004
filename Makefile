# `make demo` shows the main job on the embedded log, `make test` runs everything, `make tls` what needs TLS built in. `make chaos`
# breaks three brokers and three workers for half an hour, or for so many MINUTES. `make simulate` runs simulated storms until it
# is stopped or a law is broken.
# `make count` counts instructions and writes benches/instructions/counts.txt.
# `make bench` measures Sillage beside its rivals and writes docs/benchmarks.md; `make bench MINUTES=5` only shows some figures.

SECONDS ?= 60
# GNU make lends SECONDS to bash; a plain variable of ours is what the demo gets.
DEMO_SECONDS := $(SECONDS)

MINUTES ?= 30

# Seeds that no run before had; `make simulate SILLAGE_FIRST=0 SILLAGE_SEEDS=2000` is what CI runs.
SILLAGE_FIRST ?= $(shell date +%s)000
SILLAGE_SEEDS ?= 1000000000

# The benchmark's own package is built into the same folder: what both need is compiled once.
BENCH = cargo run --release --locked --manifest-path bench/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}" --
BENCH_REPORT = --report docs/benchmarks.md
# Further words for the drained backlog: `make bench BENCH_OPTIONS="--load rows --rounds 3"`.
BENCH_OPTIONS ?=
# What is measured after it: `make bench BENCH_ALSO=` measures nothing more.
BENCH_ALSO ?= latency restore slopes costs alone

.PHONY: demo test tls chaos simulate bench count check format

demo: toolchain
	cargo run --locked -- demo --seconds $(DEMO_SECONDS)

test: toolchain
	cargo build --locked --tests
	cargo test --locked

# What only a build with TLS can do: the connections on which leaders are asked, by each way to come to real brokers.
tls: toolchain
	cargo test --locked --features tls --lib --test e2e -- kafka::leaders guarded::

# The long run of tests/e2e/chaos (its head says what that is), with the release build. SEED=n gives another order.
chaos: toolchain
	CHAOS=long CHAOS_MINUTES=$(MINUTES) cargo test --release --locked --test chaos -- --nocapture whatever_happens

# Workers on fake brokers and fake clocks (the head of tests/it/simulation.rs says what that is).
simulate: toolchain
	SILLAGE_FIRST=$(SILLAGE_FIRST) SILLAGE_SEEDS=$(SILLAGE_SEEDS) cargo test --locked --test it -- --nocapture simulation::storms

# docs/benchmarks.md says what is measured. The whole of it writes that page; the short form, for MINUTES that somebody gave, only
# shows its figures. (The default of MINUTES above is that of chaos.)
bench: toolchain
	cargo build --release --locked
ifeq ($(origin MINUTES),file)
	$(BENCH) run $(BENCH_REPORT) --plot docs/pictures/benchmarks.svg $(BENCH_OPTIONS)
	set -e; for measurement in $(BENCH_ALSO); do $(BENCH) $$measurement $(BENCH_REPORT); done
else
	$(BENCH) run --minutes $(MINUTES) $(BENCH_OPTIONS)
endif

# The instructions of every step, in both builds (the head of benches/instructions/main.rs says more).
count: toolchain
	COUNT=write cargo bench --locked --bench instructions
	COUNT=write cargo test --locked --bench instructions

# What CI does not need to run, but a commit should pass.
check: toolchain
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo fmt --check --manifest-path bench/Cargo.toml
	cargo clippy --locked --all-targets --manifest-path bench/Cargo.toml -- -D warnings

format:
	cargo fmt
	cargo fmt --manifest-path bench/Cargo.toml

.PHONY: toolchain
toolchain:
	@command -v cargo >/dev/null || { echo "Rust is missing. Install it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; exit 2; }
	@command -v cc >/dev/null || { echo "A C compiler is missing. On Debian or Ubuntu: sudo apt-get install -y build-essential"; exit 2; }
