# The commands of this tree. `make` alone prints this list.
#
# The Python environment is created in .venv from requirements/dev.txt (pinned, with hashes), and again
# when that file changes.

PYTHON ?= python3
RUN := .venv/bin/python
STAMP := .venv/.stamp

.DEFAULT_GOAL := help
.PHONY: help demo test check parts unit node live bench soak cluster cluster-down plugin images manifests release docs venv lock clean format coverage

help:  ## print this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {gsub(/[$$][$$]/, "$$", $$2); printf "  make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Runs with any Python; the tools of this tree do not.
NEW_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Genie needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0])'
# One process for each processor; a process without tests left takes some from the others.
PARALLEL = --numprocesses=auto --dist=worksteal
# Each process has clusters of its own, and runs whole files. 0: one process, as without this option.
LIVE_PROCESSES = 2
APT = apt-get -o DPkg::Lock::Timeout=300

$(STAMP): requirements/dev.txt
	@$(NEW_PYTHON)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing Debian package: python3-venv" >&2; \
	  $(APT) install -yqq python3-venv >&2 || { $(APT) update -qq && $(APT) install -yqq python3-venv >&2; }; }
	@echo "creating the Python environment in .venv (about a minute)" >&2
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

venv: $(STAMP)  ## create the Python environment in .venv

demo:  ## show Genie on a throw-away real Kubernetes: two pods, two networks, a refused third (root)
	@$(NEW_PYTHON)
	@$(PYTHON) -m tests.devcluster check
	@$(MAKE) -s venv
	@$(RUN) -m tests.demo

test:  ## run check, unit, node and live, and name all that failed (root; installs what is missing)
	@$(NEW_PYTHON)
	@$(PYTHON) -m tests.devcluster check
	@$(MAKE) -s venv
	@code=0; for part in check parts unit node live; do \
	  echo "== make $$part" >&2; \
	  $(MAKE) -s $$part || { result=$$?; failed="$$failed $$part"; [ $$code -ne 0 ] || code=$$result; }; \
	done; \
	[ $$code -eq 0 ] || echo "failed: make$$failed" >&2; exit $$code

parts: venv  # builds what node and live need, before their tests measure time
	@$(RUN) -m tests.devcluster build

check: venv  ## check format, lint, types, import contracts, dependencies, spelling
	@.venv/bin/ruff format --check --quiet . || { echo 'run "make format"' >&2; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/deptry --no-ansi .
	@.venv/bin/codespell

format: venv  ## format the code, and fix what the linter can fix
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

unit: venv  ## run the unit tests, on all processors: no root, no network
	@$(RUN) -m pytest -q $(PARALLEL) tests/unit

coverage: venv  ## run the unit tests with branch coverage
	@$(RUN) -m coverage run -m pytest -q tests/unit
	@$(RUN) -m coverage report

node: venv  ## test the plugin with real CNI plugins in network namespaces, on all processors (root)
	@$(RUN) -m pytest -q $(PARALLEL) tests/node

live: venv  ## test the whole product on a real Kubernetes (root; LIVE_PROCESSES=0: one file at a time)
	@$(RUN) -m pytest --numprocesses=$(LIVE_PROCESSES) --dist=loadfile --no-loadscope-reorder tests/cluster

bench: venv  ## measure; write the figures of docs/performance.md; run long tests in full (root)
	@$(RUN) -m tests.bench
	@$(RUN) -m tests.bench.node_boot
	@$(RUN) -m tests.bench.peers
	@$(RUN) -m tests.bench.startup
	@$(RUN) -m tests.bench.agent
	@$(RUN) -m tests.bench.definitions
	@$(RUN) -m tests.bench.churn
	@$(RUN) -m tests.bench.churn_peers
	@$(RUN) -m tests.bench.webhook
	@$(RUN) -m tests.bench.creation
	@$(RUN) -m tests.bench.creation --profile 20
	@$(RUN) -m tests.bench.client_command
	@$(RUN) -m tests.bench.scale
	@$(RUN) -m tests.bench.agents
	@$(RUN) -m tests.bench.repetitions

soak: venv  ## kill everything at random for an hour while pods come and go (root; MINUTES=60)
	@$(RUN) -m tests.bench.soak $(if $(MINUTES),--minutes '$(MINUTES)')

cluster:  ## start or reuse a cluster with Genie (root): eval "$$(make -s cluster)"
	@$(NEW_PYTHON)
	@$(PYTHON) -m tests.devcluster check
	@$(MAKE) -s venv >&2
	@$(RUN) -m tests.devcluster up
	@$(RUN) -m tests.devcluster env

cluster-down:  ## stop that cluster and remove what it left (root)
	@$(NEW_PYTHON)
	@$(PYTHON) -m tests.devcluster down

manifests: venv  ## render the chart as manifests/genie.yaml (root)
	@$(RUN) -m tests.devcluster manifests

plugin: venv  ## build the CNI plugin for this machine's /usr/bin/python3: build/genie
	@$(RUN) -m dispatcher.build.bundle build

images: venv  ## build the container image with buildah (root; BASE_IMAGE=… for another base)
	@$(RUN) -m tests.devcluster image $(if $(BASE_IMAGE),--build-arg 'BASE_IMAGE=$(BASE_IMAGE)')

# Without --quiet, which hides warnings from --strict, too: then a broken link is no error.
docs: venv  ## build the pages of docs/ as a site in build/site; broken links are errors
	@output=$$(NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict 2>&1) || { echo "$$output" >&2; exit 1; }

release:  ## build dist/: image, chart, YAML, kubectl-genie, SBOM, sums, notes (root)
	@$(NEW_PYTHON)
	@$(PYTHON) -m tests.devcluster check
	@$(MAKE) -s venv
	@$(RUN) -m release $(if $(IMAGE),--image '$(IMAGE)') $(if $(DIGEST),--digest '$(DIGEST)') \
	  $(if $(BASE_IMAGE),--base-image '$(BASE_IMAGE)') $(if $(DOWNLOADS),--downloads '$(DOWNLOADS)') \
	  $(if $(FINAL),--final)

# The image has no terminal, and kubectl-genie.pyz not the kubernetes library's asynchronous client:
# what only these need is left out of their lock files.
NOT_IN_IMAGE := typer shellingham colorama rich markdown-it-py mdurl pygments
NOT_IN_CLIENT := aiohttp aiohttp-retry aiohappyeyeballs aiosignal attrs frozenlist multidict propcache yarl
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command "make lock"

lock: venv  ## write requirements/*.txt from pyproject.toml
	@$(LOCK) --extra cluster $(NOT_IN_IMAGE:%=--no-emit-package %) pyproject.toml -o requirements/run.txt
	@$(LOCK) --extra cluster --group test --group docs --group lint --group release pyproject.toml -o requirements/dev.txt
	@$(LOCK) --constraint requirements/dev.txt $(NOT_IN_CLIENT:%=--no-emit-package %) pyproject.toml \
	  -o requirements/client.txt
	@$(LOCK) --group pyproject.toml:image -o requirements/image.txt

clean:  ## remove what was built in this tree; .venv stays
	rm -rf build dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
