# Every target sets up what it needs; a fresh machine wants python3 (3.11 or newer), pip and make, nothing else.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .boot/bin/uv
BIN := .venv/bin
MEMBERS := protocol agent collector simulator
# uv uses the interpreter at hand and downloads none.
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON_PREFERENCE := only-system
ONLY ?=
TILL_PYTHON ?=
TILL_MACHINE ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench evidence pictures schemas agent-release lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: .venv/ready ## watch it work: a broker, a collector, agents, a fleet of 100, and a page to look at
	$(BIN)/tillwatch-sim demo

test: .venv/ready ## run all tests
	$(BIN)/pytest -n auto --dist worksteal

check: .venv/ready ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready ## measure speed and memory, as ratios in one run (ONLY=name for one)
	$(BIN)/python -m tests.bench bench $(if $(ONLY),--only $(ONLY))

evidence: .venv/ready ## regenerate every published figure from its seed (ONLY=name for one)
	$(BIN)/python -m tests.bench evidence $(if $(ONLY),--only $(ONLY))

pictures: .venv/ready ## take the README's pictures of the demonstration anew, in a real browser
	$(BIN)/python -m tests.live.browser.pictures collector/pictures

schemas: .venv/ready ## regenerate the JSON Schemas and the AsyncAPI document from the models
	$(BIN)/tillwatch-schemas protocol/schemas

agent-release: .venv/ready ## make a release of the agent in dist/ (for other tills: TILL_PYTHON=3.13 TILL_MACHINE=aarch64)
	@rm -rf dist/lib
	@$(UV) pip install --quiet --python .venv --target dist/lib --no-sources --constraint requirements.txt \
	  $(if $(TILL_PYTHON),--python-version $(TILL_PYTHON)) \
	  $(if $(TILL_MACHINE),--python-platform $(TILL_MACHINE)-unknown-linux-gnu) ./protocol ./agent
	@$(BIN)/python -m tillwatch_agent.pack dist/lib --out dist \
	  $(if $(TILL_PYTHON),--python $(TILL_PYTHON)) $(if $(TILL_MACHINE),--machine $(TILL_MACHINE))

lock: $(UV) ## choose the newest allowed versions anew and write requirements.txt
	$(UV) export --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" --upgrade --quiet \
	  --format requirements.txt --no-emit-workspace --all-packages --all-groups --no-header --no-annotate -o requirements.txt

clean: ## remove what the targets made
	rm -rf .venv .boot dist

$(UV):
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore --target .boot uv==$(UV_VERSION)

.venv/ready: requirements.txt $(MEMBERS:%=%/pyproject.toml) | $(UV)
	@echo "Setting up .venv (once) ..."
	@$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(UV) pip sync --quiet --python .venv --require-hashes requirements.txt
	@$(UV) pip install --quiet --python .venv --no-deps $(MEMBERS:%=-e ./%)
	@touch $@
