# Two commands set everything up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
RABBITMQ := /usr/lib/rabbitmq/bin/rabbitmq-server

# of `make drill`
ROWS   ?= 2000
KILLS  ?= 20
SEED   ?= 1
BROKER ?= redis

.DEFAULT_GOAL := help
.PHONY: help demo demo-cloud test drill check bench clean

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

# The tests start nodes of their own from it; it need not, and does not, run as a service.
$(RABBITMQ):
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { echo "the tests need RabbitMQ, and only root can install it here: sudo apt-get install rabbitmq-server"; exit 1; }
	@echo "installing Debian's rabbitmq-server for the tests (once)"
	@apt-get update -qq
	@RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null
	@test ! -d /run/systemd/system || systemctl --quiet disable --now rabbitmq-server

test: $(READY) $(RABBITMQ) ## run every test (real broker, real workers, real videos)
	@$(BIN)/python -m pytest

drill: $(READY) $(if $(filter rabbitmq,$(BROKER)),$(RABBITMQ)) ## kill, freeze, cut and fill a real fleet at work: ROWS=2000 KILLS=20 SEED=1 BROKER=redis|rabbitmq
	@$(BIN)/python -m tests.drill --rows $(ROWS) --kills $(KILLS) --seed $(SEED) --broker $(BROKER)

check: $(READY) ## ruff, mypy and the architecture test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(READY) ## measure against other designs, 5 to 8 minutes; CASE=decode|share|flow|engine|frames48|video for one
	@$(BIN)/python -m bench $(if $(CASE),--case $(CASE)) $(if $(ROUNDS),--rounds $(ROUNDS))

clean: ## remove the demo's world (not .venv)
	@rm -rf .demo .tamis
