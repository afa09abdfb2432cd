# Start with `make quickstart`, then `make ui`. Everything installs itself into .venv.
PYTHON ?= python3
VENV := .venv
ANIMALS ?= owl
PORT ?= 3000
BIN := $(VENV)/bin

# Laptops have no use for the CUDA build that PyPI serves by default to Linux; set PIP_EXTRA_INDEX_URL to choose another.
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: quickstart ui test versions reference docs tutorial lint style types rooms install install-dev lock clean

comma := ,
empty :=
space := $(empty) $(empty)

quickstart: install  ## install, run the pocket experiment for ANIMALS, print rates
	$(BIN)/sl-assets run pocket --through preference_rates,preference_chart \
		--animals "$(subst $(space),$(comma),$(strip $(ANIMALS)))"

ui: install  ## open the Dagster UI on http://localhost:3000
	$(BIN)/sl-assets ui --port $(PORT)

test: install-dev  ## every test, with real parts
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

versions: install-dev  ## record the sources of all assets, saying which results change
	$(BIN)/python -m sl_assets_tests.code_versions

reference: install  ## write pages of docs/reference anew: settings, commands, tables
	$(BIN)/python -m sl_assets.config.reference > docs/reference/experiment-file.md
	$(BIN)/python -m sl_assets.cli.reference > docs/reference/cli.md
	$(BIN)/python -m sl_assets.lake.reference > docs/reference/tables.md

docs: $(VENV)/.installed-docs  ## the documentation as a site, in docs/_site
	$(BIN)/python -m sphinx -q -E -W --keep-going -c docs . docs/_site
	@echo "open docs/_site/index.html"

tutorial: install-dev  ## run the tutorial in a fresh clone, and write its outputs anew
	$(BIN)/python -m sl_assets_tests.tutorial

lint: style types rooms  ## style, types, and which room may import which

style: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

rooms: install-dev
	$(BIN)/lint-imports --no-logo

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-docs

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@ $(VENV)/.installed

lock:  ## resolve constraints.txt and constraints-gpu.txt anew (needs uv)
	uv pip compile --universal --python-version 3.11 --extra s3 --extra ray --extra gguf --extra openai --extra docs --extra dev --no-header \
		--no-annotate --output-file constraints.txt pyproject.toml
	uv pip compile --python-version 3.12 --python-platform x86_64-manylinux_2_35 --extra s3 --extra postgres --extra kubernetes --extra ray --extra gguf --extra gpu \
		--no-header --no-annotate --output-file constraints-gpu.txt pyproject.toml

clean:  ## remove the environment and every result; what was paid stays noted
	rm -rf $(VENV) .dagster data_lake/experiment=* data_lake/results.* data_lake/.work
