# Two commands do all set-up: `make demo` and `make test`. The others are parts of them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types everyday slow coverage bench arm clean

demo: $(VENV)/.workstation
	$(BIN)/compress distill --teacher resnet50 --student mobilenetv3

test: lint types everyday slow

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml

types: $(VENV)/.developer
	$(BIN)/mypy

everyday: $(VENV)/.developer
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadgroup

slow: $(VENV)/.developer
	$(BIN)/pytest -m slow --numprocesses 2 --dist loadgroup --durations 10

# Counting lines makes everything take half as long again, so it is a command of its own.
coverage: $(VENV)/.developer
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadgroup --cov

bench: $(VENV)/.developer
	$(BIN)/python benchmarks/ratios.py

# Answers on emulated ARM cores; where one may install (root on Debian or Ubuntu), the
# image for ARM boards as well, really built and run.
arm: $(VENV)/.developer
	$(BIN)/python benchmarks/arm64.py --out benchmarks/results/arm64.json
	PATH="$(CURDIR)/$(BIN):$$PATH" docker/arm/try

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.workstation: pyproject.toml | $(VENV)/bin/pip
	@echo "installing edgepress and what it needs; two or three minutes, 4 GB"
	$(BIN)/pip install --quiet --editable '.[all]'
	touch $@

$(VENV)/.developer: pyproject.toml | $(VENV)/bin/pip
	@echo "installing edgepress, what it needs, and what its tests need; 4 GB"
	$(BIN)/pip install --quiet --editable '.[all,dev]'
	touch $@ $(VENV)/.workstation
