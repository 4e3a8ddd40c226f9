# The project's verbs. Each one makes what it needs, the virtual environment included; `make` alone lists them.
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

.PHONY: help demo docs test browser test-fast bench bench-peers check lint types layers spelling installed licences size format pins clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: .venv/.installed  ## train, judge and draw on sample data: the whole way in a few minutes, no download
	$(BIN)/singleshot demo $(ARGS)

test: .venv/.installed-dev  ## every test, the doctests and README's own code
	$(BIN)/python -m pytest -n auto --dist loadfile --durations=10 $(ARGS)

browser:  ## Chromium from Debian's packages, for the tests of the server's page, which skip without it
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  command -v apt-get >/dev/null && test "$$(id -u)" = 0 && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } || \
	  { echo "singleshot: error: no Chromium here, and none could be installed. Install it by hand, as root: apt-get install chromium" >&2; exit 69; }

test-fast: .venv/.installed-dev  ## the tests that take no more than a few seconds each
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow" $(ARGS)

# One thread, as every figure is stated. Those that have a peer measure our side alone in `make bench`.
BENCH := OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1
BENCHES := augment match_loss postprocess voc_ap coco_ap
BENCHES_ALONE := transport growth first_call checkpoint
PEERS ?= $(SINGLESHOT_PEERS)

bench: .venv/.installed  ## our speed, stage by stage, and how it grows: a few minutes, no peers
	@set -e; for each in $(BENCHES) $(BENCHES_ALONE); do echo "== $$each"; env -u SINGLESHOT_PEERS $(BENCH) $(BIN)/python -m benchmarks.$$each; done

bench-peers: .venv/.installed  ## the same beside other programs, in PEERS=DIR, with ratios
	@test -n "$(PEERS)" || { echo "singleshot: error: no peers' environment. Make one (benchmarks/README.md) and say PEERS=DIR." >&2; exit 78; }
	@set -e; for each in $(BENCHES); do echo "== $$each"; $(BENCH) $(BIN)/python -m benchmarks.$$each --peers $(PEERS); done

check: lint types layers spelling installed licences  ## everything else that CI asks for

lint: .venv/.installed-dev  ## style: ruff's rules and its layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev  ## annotations: pyright
	$(BIN)/pyright

layers: .venv/.installed-dev  ## who may import whom: import-linter
	$(BIN)/lint-imports --no-logo

spelling: .venv/.installed-dev  ## codespell
	$(BIN)/codespell

installed: .venv/.installed-dev  ## nothing in the environment that must not be there
	$(BIN)/python -m tools.installed

licences: .venv/.installed-dev  ## the licences of all that comes with `pip install singleshot`
	$(BIN)/python -m tools.licences

size: .venv/.installed-dev  ## lines a file, the median, and the files that want to be two
	$(BIN)/python -m tools.size

format: .venv/.installed-dev  ## put the code into ruff's layout and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pins:  ## write constraints.txt anew: the newest versions that pyproject.toml allows, torch as pinned
	$(PYTHON) -m venv --clear .venv-pins
	.venv-pins/bin/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps "$(TORCH)"
	.venv-pins/bin/python -m pip install --editable ".[dev]"
	.venv-pins/bin/python -m tools.pins constraints.txt
	rm -rf .venv-pins

docs: .venv/.installed  ## the pages as a site, in site/, with the reference from the docstrings
	$(PIP) install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m tools.reference docs/reference
	$(BIN)/mkdocs build --strict

clean:  ## away with caches, builds and the environment; never with runs/
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist src/*.egg-info
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so that an installation that broke off is made again; while it stands, nothing is installed.

.venv/.created:
	@command -v $(PYTHON) >/dev/null || { echo "singleshot: error: no $(PYTHON) here. Install Python 3.11, 3.12 or 3.13." >&2; exit 69; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("singleshot: error: needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	@touch $@

# torch goes first and alone: only it comes from TORCH_INDEX, and what it needs comes pinned with the rest.
.venv/.installed: .venv/.created pyproject.toml constraints.txt
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps "$(TORCH)"
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@touch $@
