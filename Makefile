# Rules over the CMake presets (CMakePresets.json). Each rule installs the packages that it needs, then configures and builds.
# build/ contains tests, or build/bench, only after a rule that runs them. JOBS limits parallel compilers and tests.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local

# The address and thread sanitizers conflict with strong address randomization; setarch disables it if permitted.
FIXED := $(shell setarch -R true 2>/dev/null && echo setarch -R)
# Labels: a `slow` test takes more than some seconds. A `native` test measures time or memory, which sanitizers distort, or trains for
# seconds, which take minutes under sanitizers.
CTEST := ctest --no-tests=error --output-on-failure -j $(JOBS)
# malloc overwrites freed memory, so that a use after free fails, also in libraries without a sanitizer.
PERTURB := MALLOC_PERTURB_=165 MALLOC_ARENA_MAX=1

.PHONY: all build dev packages demo check check-all check-style check-slow docs test asan tsan min clang arm64 fuzz check-keras bench fresh install clean

all: build

build:
	tools/packages build
	cmake --preset release
	cmake --build build -j $(JOBS)

dev:
	tools/packages build check
	cmake --preset dev
	cmake --build build -j $(JOBS)

packages:
	tools/packages build check style demo

demo:
	tools/packages build demo
	$(MAKE) build
	tools/demo

# The quick tests, with the conformance tests, of a build that treats warnings as errors.
check: dev
	$(PERTURB) $(CTEST) --test-dir build -LE slow

check-all: check check-style asan tsan min clang arm64 check-slow fuzz fresh

# Runs the instructions of README.md on bare Debian systems: demo, check, install, and a user without root. Needs root.
fresh:
	tools/fresh

check-slow: dev
	tools/packages slow
	$(CTEST) --test-dir build -L slow

# Checks the structure of the tree: modules, headers, format, length limits, documented and tested symbols.
check-style:
	tools/packages build check style
	$(MAKE) dev
	tools/check-rooms build

# Writes docs/keras.md and the pages that it names from the registry; `make check` compares them.
docs:
	tools/packages build check
	cmake --preset dev
	cmake --build build -j $(JOBS) --target words
	build/words --write .

test:
	$(PERTURB) $(CTEST) --test-dir build -LE slow

asan tsan:
	tools/packages build check
	cmake --preset $@
	cmake --build build/$@ -j $(JOBS)
	$(FIXED) $(CTEST) --test-dir build/$@ -LE 'slow|native'

# Without optional libraries.
min:
	tools/packages build check
	cmake --preset min
	cmake --build build/min -j $(JOBS)
	$(PERTURB) $(CTEST) --test-dir build/min -LE slow

# With clang, also with warnings as errors.
clang:
	tools/packages build check clang
	cmake --preset clang
	cmake --build build/clang -j $(JOBS)
	$(PERTURB) $(CTEST) --test-dir build/clang -LE 'slow|native'

# The quick tests for ARM64 under qemu. QUERN_TEST_TIMEOUT_FACTOR multiplies the timeout of a test; default 20. Needs root.
arm64:
	tools/packages build check arm64
	tools/check-arm64 $(JOBS)

# Runs each fuzz target for FUZZ_SECONDS from its corpus. Inputs that fail are written to build/fuzz. Needs clang.
FUZZ_SECONDS ?= 60
FUZZ := keras hdf5 config safetensors schema words npy tokenizer csv csv_blocks arrays qrec
fuzz:
	tools/packages build fuzz
	cmake --preset fuzz
	cmake --build build/fuzz -j $(JOBS)
	set -e; for target in $(FUZZ); do mkdir -p build/fuzz/corpus/$$target; \
	    $(FIXED) build/fuzz/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -timeout=30 -print_final_stats=0 \
	        -verbosity=0 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$target fuzz/corpus/$$target; done

# Round trips through Keras from the Python package index, in a virtual environment. KERAS_BACKEND=jax selects another backend.
KERAS := build/keras/bin/python
check-keras:
	tools/packages build keras
	$(MAKE) build
	test -x $(KERAS) || python3 -m venv build/keras
	$(KERAS) -m pip install --quiet --disable-pip-version-check keras==3.15.1 tensorflow-cpu==2.21.0 h5py safetensors jax
	$(KERAS) tools/check-keras build tests/data/keras

# The reference is the matrix product of oneDNN, as the limit of the machine.
bench:
	tools/packages build bench
	cmake --preset bench
	cmake --build build -j $(JOBS)
	build/bench

install: build
	cmake --install build --prefix $(PREFIX)

clean:
	rm -rf build
