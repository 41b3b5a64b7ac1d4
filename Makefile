# Two commands do everything from a clean clone: `make demo` and `make test`.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
DURATION ?=

.PHONY: help demo test lint bench models docs clean
help:
	@echo "make demo [DURATION=60]  run the whole product against a simulated site"
	@echo "make test                install what the tests need and run them all"
	@echo "make lint                ruff and mypy --strict"
	@echo "make bench               benchmarks, with tables and JSON under build/"
	@echo "make models              train the shipped coefficients of goods-in anew from the shared data"
	@echo "make docs                write the generated reference pages anew"
	@echo "make clean               remove the environment and everything built"

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found: $$($(PYTHON) --version 2>&1)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/ems demo $(if $(DURATION),--duration-s $(DURATION))

# The tests speak to peers that others wrote: a broker, Modbus in C, OPC UA in JavaScript,
# and a dissector that judges what we send. Each is a program or header and its Debian package.
PEERS := /usr/sbin/mosquitto=mosquitto /usr/bin/mosquitto_sub=mosquitto-clients \
  /usr/bin/mbpoll=mbpoll /usr/bin/cc=gcc /usr/include/stdio.h=libc6-dev \
  /usr/bin/pkg-config=pkg-config /usr/include/modbus/modbus.h=libmodbus-dev \
  /usr/bin/tshark=tshark /usr/bin/node=nodejs /usr/bin/npm=npm
.PHONY: system-tools
system-tools:
	@missing=; for peer in $(PEERS); do \
	  [ -e "$${peer%%=*}" ] || missing="$$missing $${peer#*=}"; done; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing with apt"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

test: $(VENV)/.installed system-tools
	@[ -n "$$SECONDLIFE_EMS_DATA" ] || echo "SECONDLIFE_EMS_DATA is not set: tests on measured data will be reported as not run"
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	@mkdir -p build
	for name in cycle memory drivers health; do $(BIN)/python -m benchmarks.$$name --json build/$$name.json; done

models: $(VENV)/.installed
	@[ -n "$$SECONDLIFE_EMS_DATA" ] || { echo "SECONDLIFE_EMS_DATA is not set"; exit 1; }
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m ems.health.goodsin.train --date $$(date -u +%F)

docs: $(VENV)/.installed
	$(BIN)/ems table > docs/reference/interlocks.md
	$(BIN)/python -m ems.config.document > docs/reference/site-file.md
	$(BIN)/python -m tests.docs.cli_page > docs/reference/command-line.md
	$(BIN)/python -m ems.drivers.language.schema > docs/reference/device-profiles.md
	$(BIN)/python -m ems.drivers.language.schema --json > docs/reference/device-profile.schema.json

clean:
	rm -rf $(VENV) build dist out .pytest_cache .mypy_cache .ruff_cache
