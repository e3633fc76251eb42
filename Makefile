# All set-up is done by the commands themselves: `make demo` needs Python only, `make demo-stream` installs Kafka for a
# stream, and `make test` the servers it tests against.
PYTHON ?= python3
SIZE ?= 1# how much the tests do: 1 in `make test`, 100 in `make prove`
BIN := .venv/bin

.PHONY: demo demo-stream test-core test prove lab cluster lint bench record mutants schemas man clean
.DEFAULT_GOAL := test-core

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/developer: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: .venv/installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh deploy/demo/run.sh

demo-stream: .venv/installed
	@sh deploy/kafka/install.sh .venv
	@sh deploy/demo/stream/run.sh $(BIN)/python

test-core: .venv/developer
	$(BIN)/pytest -n auto -m 'not edge and not prove'

test: .venv/developer
	sh tests/lab/install.sh .venv
	sh deploy/kafka/install.sh .venv
	CLIENTIP_SIZE=$(SIZE) $(BIN)/pytest -n auto -m 'not prove'

prove: .venv/developer
	sh tests/lab/install.sh .venv
	sh deploy/kafka/install.sh .venv
	$(BIN)/pip install --quiet --editable '.[prove]'
	CLIENTIP_SIZE=100 $(BIN)/pytest
	$(MAKE) cluster

lab: .venv/developer
	sh tests/lab/install.sh .venv
	$(BIN)/python -m tests.lab.report

cluster: .venv/developer
	sh tests/golden/install.sh .venv
	sh tests/lab/kube/install.sh
	$(BIN)/python -m tests.lab.kube.cluster

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/developer
	sh deploy/kafka/install.sh .venv
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(PYTHON) -m venv build/peers # quixstreams needs another confluent-kafka than ours
	build/peers/bin/pip install --quiet -r benchmarks/peers.txt
	$(BIN)/python -m benchmarks

record: .venv/developer
	sh tests/golden/install.sh .venv
	$(BIN)/python tests/golden/record.py

mutants: .venv/developer
	$(BIN)/python tests/mutants.py

schemas: .venv/developer
	$(BIN)/python -m clientip.schemas

man: .venv/developer
	$(BIN)/clientip help man > deploy/clientip.1

clean:
	rm -rf .venv build/peers out .pytest_cache .mypy_cache .ruff_cache .hypothesis
