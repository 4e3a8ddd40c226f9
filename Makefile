# The project's commands. Each makes what it needs, the virtual environment included; `make` alone lists them.
#
#   PYTHON=python3.12                                     the Python to build the environment with
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu      where torch comes from: here the small CPU-only wheels
#   ARGS="-k anchors"                                     more arguments for pytest or for the demo
#   PEERS=~/peers                                         the peers' environment (benchmarks/README.md makes it)

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^torch==/&/p' constraints.txt)

.PHONY: help demo docs test browser test-fast test-long cases bench bench-peers check lint types layers spelling installed licences container size format pins dist clean rtsp

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.installed  ## train, evaluate and draw on sample data, from start to end in a few minutes, without a download
	$(BIN)/singleshot demo $(ARGS)

test: .venv/.installed-dev  ## every test, the doctests and README's own code
	$(BIN)/python -m pytest -n auto --dist loadfile --durations=10 $(ARGS)

browser:  ## install Chromium from Debian's packages for the tests of the server's page, which skip without it
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  command -v apt-get >/dev/null && test "$$(id -u)" = 0 && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } || \
	  { echo "singleshot: error: Chromium is missing and could not be installed. Install it by hand, as root: apt-get install chromium" >&2; exit 69; }

rtsp:  ## install GStreamer's RTSP server from Debian's packages for the tests of network cameras, which skip without it
	@/usr/bin/python3 tests/prediction/rtsp_server.py --check 2>/dev/null || { \
	  command -v apt-get >/dev/null && test "$$(id -u)" = 0 && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends gir1.2-gst-rtsp-server-1.0 python3-gi \
	    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly >/dev/null; } || \
	  { echo "singleshot: error: GStreamer's RTSP server is missing and could not be installed. Install it by hand, as root: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly" >&2; exit 69; }

test-fast: .venv/.installed-dev  ## the tests that take a few seconds at most
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow" $(ARGS)

FUZZ_MINUTES ?= 2
# objectron_solution_packed_assets.data (tools/ready_detector.py): compares everyday with LiteRT, where that is installed.
READY_DATA ?=

test-long: .venv/.installed-dev  ## ten minutes of a stream, the container's commands, the GPU suite on a CPU, the notebooks, and every fuzz target for FUZZ_MINUTES=2: about an hour
	SINGLESHOT_LONG=1 READY_DATA="$(READY_DATA)" $(BIN)/python -m pytest -s tests/prediction/test_network_camera.py tests/test_dockerfile.py tests/starts tests/benchmarks/test_gpu_suite.py \
	  tests/cli/test_export.py
	$(PIP) install --quiet --constraint constraints.txt --editable ".[wandb,mlflow]"
	$(BIN)/python -m pytest tests/training/test_trackers.py
	$(PIP) install --quiet --constraint constraints.txt --editable ".[notebooks]"
	SINGLESHOT_LONG=1 $(BIN)/python -m pytest tests/examples/test_notebooks.py
	$(BIN)/python -m benchmarks.export_table
	$(MAKE) --no-print-directory dist ARGS=
	@set -e; for each in $$(cd tests/fuzz && grep -l "TARGET = Target(" *.py | grep -v test_fuzz | sed "s/\.py$$//"); do \
	  $(BIN)/python -m tests.fuzz.$$each --minutes $(FUZZ_MINUTES); done

CASES ?= ../shared/cases
CASES_DEMO ?= runs/demo

cases: .venv/.installed-dev  ## the scripts of reported faults in CASES=DIR; some need the demo's run (make demo). Not in CI
	@test -d "$(CASES)" || { echo "singleshot: error: no folder $(CASES). Pass CASES=DIR." >&2; exit 66; }
	$(BIN)/python -m tools.cases "$(CASES)" --demo "$(CASES_DEMO)"

# One thread, as every figure is stated. `make bench` measures ours alone.
BENCH := OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1
BENCHES := augment match_loss postprocess voc_ap coco_ap
BENCHES_ALONE := transport growth first_call checkpoint
PEERS ?= $(SINGLESHOT_PEERS)

bench: .venv/.installed  ## our speed, stage by stage, and how it scales: a few minutes, without peers
	@set -e; for each in $(BENCHES) $(BENCHES_ALONE); do echo "== $$each"; env -u SINGLESHOT_PEERS $(BENCH) $(BIN)/python -m benchmarks.$$each; done

bench-peers: .venv/.installed  ## the same with other programs beside it, in PEERS=DIR, with ratios
	@test -n "$(PEERS)" || { echo "singleshot: error: no environment of peers. Make one (benchmarks/README.md) and pass PEERS=DIR." >&2; exit 78; }
	@set -e; for each in $(BENCHES); do echo "== $$each"; $(BENCH) $(BIN)/python -m benchmarks.$$each --peers $(PEERS); done

check: lint types layers spelling installed licences container  ## everything else that CI checks

lint: .venv/.installed-dev  ## style: ruff's rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev  ## types: pyright
	$(BIN)/pyright

layers: .venv/.installed-dev  ## who may import whom: import-linter
	$(BIN)/lint-imports --no-logo

spelling: .venv/.installed-dev  ## codespell
	$(BIN)/codespell

container: .venv/.installed-dev  ## the container recipe: hadolint
	$(BIN)/hadolint Dockerfile

installed: .venv/.installed-dev  ## no forbidden package in the environment
	$(BIN)/python -m tools.installed

licences: .venv/.installed-dev  ## the licences of everything that `pip install singleshot` installs
	$(BIN)/python -m tools.licences

size: .venv/.installed-dev  ## lines of each file, and figures of how much a reader has to follow
	$(BIN)/python -m tools.size

format: .venv/.installed-dev  ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pins:  ## rewrite constraints.txt: the newest versions that pyproject.toml allows, torch as pinned
	$(PYTHON) -m venv --clear .venv-pins
	.venv-pins/bin/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps "$(TORCH)"
	.venv-pins/bin/python -m pip install --editable ".[dev]"
	.venv-pins/bin/python -m tools.pins constraints.txt
	rm -rf .venv-pins

docs: .venv/.installed  ## build the pages as a site in site/, with the reference from the docstrings
	$(PIP) install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m tools.reference docs/reference
	$(BIN)/mkdocs build --strict

dist: .venv/.installed-dev  ## build sdist and wheel in dist/, install the wheel afresh, predict and train with it (ARGS=--from-registry)
	$(PIP) install --quiet build
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python -m tools.dist $(ARGS)

clean:  ## remove caches, builds and the environment, never runs/
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist src/*.egg-info
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so that an interrupted installation is repeated; while it exists, nothing is installed.

.venv/.created:
	@command -v $(PYTHON) >/dev/null || { echo "singleshot: error: $(PYTHON) is missing. Install Python 3.11, 3.12 or 3.13." >&2; exit 69; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("singleshot: error: needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	@touch $@

# torch is installed first and alone: only it comes from TORCH_INDEX; its dependencies come pinned with the rest.
.venv/.installed: .venv/.created pyproject.toml constraints.txt
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps "$(TORCH)"
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@touch $@
