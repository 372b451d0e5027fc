# The short way to everything: thin rules over CMake presets (CMakePresets.json). Each rule first installs the packages that it
# needs, and no others, and then configures what it needs: build/ has tests, or build/bench, only after a rule that runs them. JOBS bounds the compilers and tests that run at once.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local

# Addresses of the address and thread sanitizers collide with much randomised ones; switched off where that is allowed.
FIXED := $(shell setarch -R true 2>/dev/null && echo setarch -R)
# Labels: `slow` takes more than some seconds; `native` measures time or memory, which sanitizers distort, or trains for
# seconds, which they turn into minutes.
CTEST := ctest --no-tests=error --output-on-failure -j $(JOBS)
# Memory that is given back is overwritten, so that what still reads it fails, in libraries too that no sanitizer sees.
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

# The quick tests, conformance among them, from a build in which warnings are errors.
check: dev
	$(PERTURB) $(CTEST) --test-dir build -LE slow

check-all: check check-style asan tsan min clang arm64 check-slow fuzz fresh

# What README.md tells a reader to do, on bare Debian systems: demo, check, install, and by a user who is not root. Needs root.
fresh:
	tools/fresh

check-slow: dev
	tools/packages slow
	$(CTEST) --test-dir build -L slow

# What the structure of the house promises: rooms, headers, format, budgets, documented and tested symbols.
check-style:
	tools/packages build check style
	$(MAKE) dev
	tools/check-rooms build

# Writes the pages about Keras's words (docs/keras.md and those it names) anew from the registry; `make check` compares them.
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

# Without what is optional.
min:
	tools/packages build check
	cmake --preset min
	cmake --build build/min -j $(JOBS)
	$(PERTURB) $(CTEST) --test-dir build/min -LE slow

# By the other compiler, whose warnings are errors too.
clang:
	tools/packages build check clang
	cmake --preset clang
	cmake --build build/clang -j $(JOBS)
	$(PERTURB) $(CTEST) --test-dir build/clang -LE 'slow|native'

# For ARM64, the quick tests under qemu. QUERN_TEST_TIMEOUT_FACTOR: how many times as long a test may take, 20 when not given. Needs
# root.
arm64:
	tools/packages build check arm64
	tools/check-arm64 $(JOBS)

# Every fuzz target for some time, from its corpus; what it finds is left in build/fuzz. Needs clang.
FUZZ_SECONDS ?= 60
FUZZ := keras hdf5 config safetensors schema words npy tokenizer csv csv_blocks arrays qrec
fuzz:
	tools/packages build fuzz
	cmake --preset fuzz
	cmake --build build/fuzz -j $(JOBS)
	set -e; for target in $(FUZZ); do mkdir -p build/fuzz/corpus/$$target; \
	    $(FIXED) build/fuzz/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -timeout=30 -print_final_stats=0 \
	        -verbosity=0 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$target fuzz/corpus/$$target; done

# Round trips through real Keras, from the package index, in an environment of its own. KERAS_BACKEND=jax: by another backend.
KERAS := build/keras/bin/python
check-keras:
	tools/packages build keras
	$(MAKE) build
	test -x $(KERAS) || python3 -m venv build/keras
	$(KERAS) -m pip install --quiet --disable-pip-version-check keras==3.15.1 tensorflow-cpu==2.21.0 h5py safetensors jax
	$(KERAS) tools/check-keras build tests/data/keras

# Its yardstick, the machine's limit, is measured with oneDNN's products.
bench:
	tools/packages build bench
	cmake --preset bench
	cmake --build build -j $(JOBS)
	build/bench

install: build
	cmake --install build --prefix $(PREFIX)

clean:
	rm -rf build
