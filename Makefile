# `make lab` and `make test` set up all they need in .venv; a second run is quick.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# One process more than there are cores: the tests wait for something half of their time.
WORKERS ?= $(shell echo $$(($(CORES) + 1)))
# No restart: pytest-xdist gives a test that ended its process to the next one, again and again.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -rfEs
LAB_ARGS ?=
# JupyterLab asks at its first start whether it may show news, on top of the first chapter.
NO_NEWS := --LabApp.news_url=None
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: ready help lab test test-all soak bench notebooks pictures blank slides serve lint clean

help:
	@echo "make lab        open JupyterLab on the notebooks"
	@echo "make test       run the tests, without the slow ones"
	@echo "make test-all   run every test"
	@echo "make bench      compare the server with the same one in Node.js, and with itself"
	@echo "make soak       run many clients on bad links, and kill servers, for an hour (CONTRIBUTING.md: shorter)"
	@echo "make notebooks  run all chapters and store their outputs"
	@echo "make pictures   make the pictures of the README (with Chromium)"
	@echo "make blank      write copies of the chapters without solutions and outputs: blank/"
	@echo "make slides     make a deck of slides of each chapter: slides/"
	@echo "make serve      run the chat server on http://localhost:3000"
	@echo "make lint       check the style"
	@echo "make clean      remove what these commands made"

lab: ready
	$(BIN)/python -m jupyter lab $(ROOT) $(NO_NEWS) --notebook-dir=. $(LAB_ARGS) notebooks/00_start_here.ipynb

test: ready
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-all: ready
	$(BIN)/python -m pytest $(PARALLEL)

# Its clients and servers keep the cores busy.
soak: WORKERS := $(CORES)
soak: ready
	$(BIN)/python -m pytest $(PARALLEL) --dist load tests/soak

bench: ready
	$(BIN)/python -m pytest -q -s tests/benchmarks
	$(BIN)/python tests/benchmarks
	$(BIN)/python tests/benchmarks/cluster.py

notebooks: ready
	$(BIN)/python .ci/run_notebooks.py

pictures: ready
	$(BIN)/python .ci/make_pictures.py

blank: ready
	$(BIN)/python .ci/blank.py $(FOLDER)

slides: ready
	$(BIN)/python .ci/slides.py $(FOLDER)

serve: ready
	$(BIN)/python -m chatlab

lint: ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

clean:
	rm -rf .venv dist blank slides tests/benchmarks/results chatlab/page/static/vendor .pytest_cache .ruff_cache .hypothesis

# Makes .venv, or makes it anew, only when there is a reason: the script says which.
ready:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: name a Python, as in make lab PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) .ci/set_up.py $(if $(filter file,$(origin PYTHON)),,chosen)
