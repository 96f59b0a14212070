# The same commands for people and for CI. `make demo` and `make test` are complete: they install
# what they need, create .venv, compile llama.cpp into it (once) and the package (what has changed).
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(VENV)

# Each does nothing where everything is there; CI=true installs everything that any test needs.
SETUP = $(PYTHON) tools/setup_env.py --venv $(VENV)
PY_SOURCES = python tests/python tools benchmarks examples third_party
CPP_SOURCES = $(shell git ls-files -co --exclude-standard -- \
	'cpp/**.h' 'cpp/**.cpp' 'tests/cpp/**.h' 'tests/cpp/**.cpp' 'benchmarks/**.h' 'benchmarks/**.cpp' \
	'third_party/**.h' 'third_party/**.cpp')
# Some tests wait, for others or for a time, so on two cores a third process saves an eighth.
PYTEST_WORKERS ?= 3
STUB = python/specbranch_cpp/_core.pyi
# GCC 12's TSan does not start with the address space randomization of newer kernels.
NO_ASLR = $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):.*## /  \1: /p' $(MAKEFILE_LIST)

.PHONY: setup install install-test install-dev
setup: ## .venv with llama-cpp-python and what builds the package
	@$(SETUP) --for build

install: ## and the package
	@$(SETUP) --for demo

install-test: ## and what its tests need
	@$(SETUP) --for test

install-dev: ## and the tools for lint, types, stubs and documents
	@$(SETUP) --for dev

.PHONY: demo test test-cpp test-core benchmarks test-slow
demo: install ## the bundled pair of models, with and without speculation
	@$(BIN)/specbranch demo

test: test-cpp ## the C++ tests, then pytest
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow and not gpu' \
		--durations 60 --durations-min 3

test-cpp: install-test ## the C++ tests alone
	cmake --preset llama
	cmake --build --preset llama
	ctest --preset llama

test-core: ## the core's tests alone: no llama.cpp, no Python
	cmake --preset dev
	cmake --build --preset dev
	ctest --preset dev

benchmarks: install-test ## compiles the C++ programs under benchmarks/
	cmake --preset llama
	cmake --build --preset llama --target specbranch_benchmarks

test-slow: install-test ## the Python tests that take minutes
	$(BIN)/pytest -m slow

.PHONY: lint format types stubs stubs-check
lint: install-dev ## ruff, clang-format, clang-tidy
	$(BIN)/ruff check $(PY_SOURCES)
	$(BIN)/ruff format --check $(PY_SOURCES)
	$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)
	cmake --preset full -DSPECBRANCH_WERROR=ON -DSPECBRANCH_COMPILER_CACHE=OFF -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/python tools/tidy.py build/full

format: ## writes what lint wants of the format
	$(BIN)/ruff check --fix $(PY_SOURCES)
	$(BIN)/ruff format $(PY_SOURCES)
	$(BIN)/clang-format -i $(CPP_SOURCES)

types: install-dev ## mypy --strict
	$(BIN)/mypy

# _core.pyi is generated from the installed extension, committed, and checked for drift.
.PHONY: build/stubs/_core.pyi
build/stubs/_core.pyi: install-dev
	$(BIN)/pybind11-stubgen specbranch_cpp._core --output-dir build/stubs --exit-code
	cp build/stubs/specbranch_cpp/_core.pyi $@
	$(BIN)/ruff format --quiet $@

stubs: build/stubs/_core.pyi ## writes python/specbranch_cpp/_core.pyi anew
	cp build/stubs/_core.pyi $(STUB)

stubs-check: build/stubs/_core.pyi ## fails if it has drifted
	diff -u $(STUB) build/stubs/_core.pyi

.PHONY: docs
docs: install-dev ## the documentation as a site, in build/site; fails where a name or a page is gone
	$(BIN)/mkdocs build --quiet

.PHONY: sanitize sanitize-asan sanitize-tsan
sanitize: sanitize-asan sanitize-tsan ## the core's tests under ASan+UBSan, and those with threads under TSan

sanitize-asan sanitize-tsan: sanitize-%:
	cmake --preset $*
	cmake --build --preset $*
	$(NO_ASLR) ctest --preset $*

.PHONY: sanitize-extension
sanitize-extension: install-test ## a part of the Python tests, the extension under ASan+UBSan
	$(BIN)/python tools/sanitized_extension.py

.PHONY: odr
odr: setup ## fails if two C++ types share a name but differ (One Definition Rule)
	cmake --preset odr
	cmake --build --preset odr

.PHONY: clean
clean:
	rm -rf build dist

.PHONY: wheels
# PYTHONS: interpreters that are not called python3.X on PATH. ARCHS: x86_64 and aarch64.
wheels: setup ## wheels for every Python found, in dist/wheels (docs/wheels.md)
	$(BIN)/pip install -q -r tools/wheels/requirements.txt
	$(BIN)/python tools/build_wheels.py $(PYTHONS:%=--python %) $(ARCHS:%=--arch %)
