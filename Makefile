# `make lab` and `make test` set up all they need in .venv; a second run is quick.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
LAB_ARGS ?=
# JupyterLab asks at its first start whether it may show news, on top of the first chapter.
NO_NEWS := --LabApp.news_url=None
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help lab test soak bench notebooks pictures blank slides serve lint clean

help:
	@echo "make lab        open JupyterLab on the notebooks"
	@echo "make test       run every test"
	@echo "make bench      compare the server with the same one in Node.js, and with itself"
	@echo "make soak       run many clients on bad links, and kill servers, for an hour (CONTRIBUTING.md: shorter)"
	@echo "make notebooks  run all chapters and store their outputs"
	@echo "make pictures   make the pictures of the README (with Chromium)"
	@echo "make blank      write copies of the chapters without solutions and outputs: blank/"
	@echo "make slides     make a deck of slides of each chapter: slides/"
	@echo "make serve      run the chat server on http://localhost:3000"
	@echo "make lint       check the style"
	@echo "make clean      remove what these commands made"

lab: $(READY)
	$(BIN)/jupyter lab $(ROOT) $(NO_NEWS) --notebook-dir=. $(LAB_ARGS) notebooks/00_start_here.ipynb

test: $(READY)
	$(BIN)/python -m pytest

soak: $(READY)
	$(BIN)/python -m pytest tests/soak

bench: $(READY)
	$(BIN)/python -m pytest -q -s tests/benchmarks
	$(BIN)/python tests/benchmarks

notebooks: $(READY)
	$(BIN)/python .ci/run_notebooks.py

pictures: $(READY)
	$(BIN)/python .ci/make_pictures.py

blank: $(READY)
	$(BIN)/python .ci/blank.py $(FOLDER)

slides: $(READY)
	$(BIN)/python .ci/slides.py $(FOLDER)

serve: $(READY)
	$(BIN)/python -m chatlab

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv dist blank slides tests/benchmarks/results chatlab/page/static/vendor .pytest_cache .ruff_cache .hypothesis

# Debian has a python3 whose venv lacks pip: there, the pip outside installs into the venv.
$(READY): pyproject.toml .ci/fetch_client.py
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	elif $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet -e '.[dev]'; \
	else \
		$(PYTHON) -m venv --without-pip .venv && \
		$(PYTHON) -m pip --python $(BIN)/python install --quiet -e '.[dev]'; \
	fi
	@touch $@
