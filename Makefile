# The short way to everything: thin rules over CMake presets (CMakePresets.json). Rules that need packages see to them
# first; the others only build and run. JOBS bounds the compilers and tests that run at once.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local

# Addresses of the address and thread sanitizers collide with much randomised ones; switched off where that is allowed.
FIXED := $(shell setarch -R true 2>/dev/null && echo setarch -R)
# Labels: `slow` takes more than some seconds; `native` measures time or memory, which sanitizers distort.
CTEST := ctest --output-on-failure -j $(JOBS)

.PHONY: all build dev packages demo check check-all check-style check-slow test asan tsan min bench install clean

all: build

build:
	cmake --preset release
	cmake --build build -j $(JOBS)

dev:
	cmake --preset dev
	cmake --build build -j $(JOBS)

packages:
	tools/packages build check style demo

demo:
	tools/packages build demo
	$(MAKE) build
	tools/demo

# The quick tests, conformance among them, from a build in which warnings are errors.
check:
	tools/packages build check
	$(MAKE) dev
	$(CTEST) --test-dir build -LE slow

check-all: check check-style asan tsan min check-slow

check-slow: dev
	$(CTEST) --test-dir build -L slow

# What the structure of the house promises: rooms, headers, format, budgets, documented and tested symbols.
check-style:
	tools/packages build check style
	$(MAKE) dev
	tools/check-rooms build

test:
	$(CTEST) --test-dir build -LE slow

asan tsan:
	cmake --preset $@
	cmake --build build/$@ -j $(JOBS)
	$(FIXED) $(CTEST) --test-dir build/$@ -LE 'slow|native'

# Without what is optional.
min:
	cmake --preset min
	cmake --build build/min -j $(JOBS)
	$(CTEST) --test-dir build/min -LE slow

# Its yardstick, the machine's limit, is measured with oneDNN's products.
bench:
	tools/packages build bench
	$(MAKE) build
	build/bench

install: build
	cmake --install build --prefix $(PREFIX)

clean:
	rm -rf build
