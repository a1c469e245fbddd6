# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
INTEROP := .venv-interop
SDKS := .venv-interop-sdks
PHOENIX := .venv-phoenix
# Tests that mind no others beside them: these share the machine's processors.
PURE := tests/asgi tests/clients tests/conformance tests/dialects tests/framing tests/recorder tests/transports
export PATH := $(CURDIR)/.tools/usr/bin:$(PATH)
# litellm, which some agent packages bring, else asks the network for a price list.
export LITELLM_LOCAL_MODEL_COST_MAP := True

.PHONY: help demo test check format interop interop-sdks test-dashboards boards pictures bench bench-http bench-ws bench-stdio docs docs-check clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/.ready ## play scripted and captured agent streams, with a live view and /metrics
	@$(VENV)/bin/streamgauge demo

test: $(VENV)/.ready .tools/.ready ## the tests
	PYTHONHASHSEED=0 $(VENV)/bin/python -m pytest -q -n auto $(PURE) # the seed: each worker finds the same tests
	$(VENV)/bin/python -m pytest -q $(addprefix --ignore=,$(PURE) tests/interop tests/interop_sdks tests/dashboards)

check: $(VENV)/.ready ## format, lint, types, layers, generated documentation
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q tests/test_layers.py
	$(VENV)/bin/python scripts/generate_docs.py --check
	$(VENV)/bin/python -m dashboards.generate --check

format: $(VENV)/.ready ## put the code in form
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

interop: $(INTEROP)/.ready .tools/browser/.ready ## the real agent packages, wrapped and unwrapped (an environment of 1 GB)
	$(INTEROP)/bin/python -m pytest -q tests/interop

interop-sdks: $(SDKS)/.ready ## the real SDKs of model APIs and protocols, wrapped and through the proxy
	PYTHONHASHSEED=0 $(SDKS)/bin/python -m pytest -q -n auto tests/dialects tests/framing/test_aws_event_stream.py
	$(SDKS)/bin/python -m pytest -q tests/interop_sdks

boards: $(VENV)/.ready ## write the boards, rules and alerts in dashboards/
	$(VENV)/bin/python -m dashboards.generate

pictures: $(VENV)/.ready .tools/.ready ## draw the boards' data and the how-tos' traces anew: docs/images
	$(VENV)/bin/python scripts/draw_traces.py
	$(VENV)/bin/python scripts/draw_boards.py --run

test-dashboards: $(VENV)/.ready .tools/.ready $(PHOENIX)/.ready ## boards, rules, alerts and stack, on a real Prometheus, Alertmanager and trace store
	$(VENV)/bin/python -m pytest -q tests/dashboards

bench: $(INTEROP)/.ready ## what it costs, beside a floor and a peer; run it alone
	$(INTEROP)/bin/python -m bench

bench-http: $(VENV)/.ready ## what the proxy costs, beside nginx and haproxy; run it alone
	@bench/http/get_peers
	$(VENV)/bin/python -m bench.http

bench-ws: $(VENV)/.ready ## what a WebSocket through the proxy costs, beside nginx and a plain relay; run it alone
	@bench/http/get_peers
	$(VENV)/bin/python -m bench.ws

bench-stdio: $(VENV)/.ready ## what `exec` costs, beside cat and a plain relay; run it alone
	$(VENV)/bin/python -m bench.stdio

docs: $(VENV)/.ready ## write the generated parts of the documentation
	$(VENV)/bin/python scripts/generate_docs.py

docs-check: $(VENV)/.ready
	$(VENV)/bin/python scripts/generate_docs.py --check

clean: ## remove what was set up and built
	rm -rf $(VENV) $(INTEROP) $(SDKS) $(PHOENIX) .tools build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.ready: pyproject.toml constraints.txt
	@scripts/make_venv "$(PYTHON)" $(VENV) constraints.txt -e '.[all,dev]'
	@touch $@

$(INTEROP)/.ready: pyproject.toml constraints-interop.txt
	@scripts/make_venv "$(PYTHON)" $(INTEROP) constraints-interop.txt -e '.[interop]'
	@touch $@

$(SDKS)/.ready: pyproject.toml constraints-interop-sdks.txt
	@PIP_NO_BINARY=claude-agent-sdk scripts/make_venv "$(PYTHON)" $(SDKS) constraints-interop-sdks.txt -e '.[interop-sdks]' # its wheel brings a program of 365 MB
	@touch $@

$(PHOENIX)/.ready: constraints-phoenix.txt
	@scripts/make_venv "$(PYTHON)" $(PHOENIX) constraints-phoenix.txt arize-phoenix
	@touch $@

.tools/browser/.ready: scripts/get_browser
	@scripts/get_browser
	@mkdir -p .tools/browser
	@touch $@

.tools/.ready: scripts/get_tools
	@scripts/get_tools
	@touch $@
