# All set-up is done by the commands themselves: `make demo` needs Python only, `make demo-stream` installs Kafka for a
# stream, and `make test` the servers it tests against (tests/setup.sh; outside the clone, once for all clones).
PYTHON ?= python3
SIZE ?= 1# how much the tests do: 1 in `make test`, 100 in `make prove`
BIN := .venv/bin
SERVERS = PATH="$$(sh tests/setup.sh --where):$$PATH"# for programs that start the servers which are no packages
PROVE = CLIENTIP_SIZE=100 $(BIN)/pytest -n auto

.PHONY: demo demo-stream setup test-core test prove prove-laws prove-joins prove-edges prove-stream prove-kills prove-bars \
	prove-fuzz-first prove-fuzz-second lab cluster lint bench record mutants schemas man clean
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
	@sh deploy/kafka/install.sh
	@sh deploy/demo/stream/run.sh $(BIN)/python

test-core: .venv/developer
	$(BIN)/pytest -n auto -m 'not edge and not prove'

setup:
	sh tests/setup.sh

test: .venv/developer setup
	CLIENTIP_SIZE=$(SIZE) $(BIN)/pytest -n auto -m 'not prove'

# Each part can be run by itself.
prove: prove-laws prove-joins prove-edges prove-stream prove-kills prove-bars prove-fuzz-first prove-fuzz-second cluster

prove-laws: .venv/developer
	$(PROVE) -m 'not edge and not prove' --ignore tests/joins --ignore tests/stream --ignore tests/diagnose

prove-joins: .venv/developer
	$(PROVE) -m 'not edge and not prove' tests/joins tests/stream tests/diagnose

prove-edges: .venv/developer setup
	$(PROVE) -m 'edge and not prove' --ignore tests/edges/stream --ignore tests/edges/kafka

prove-stream: .venv/developer setup
	$(PROVE) -m 'edge and not prove' tests/edges/stream --ignore tests/edges/stream/test_kills.py

prove-kills: .venv/developer setup
	$(PROVE) -m 'edge and not prove' tests/edges/kafka tests/edges/stream/test_kills.py

prove-bars: .venv/developer
	$(PROVE) -m prove tests/edges/replay

prove-fuzz-first: .venv/developer
	$(BIN)/pip install --quiet --editable '.[prove]'
	CLIENTIP_SIZE=100 $(BIN)/pytest -m prove tests/test_fuzz.py -k first

prove-fuzz-second: .venv/developer
	$(BIN)/pip install --quiet --editable '.[prove]'
	CLIENTIP_SIZE=100 $(BIN)/pytest -m prove tests/test_fuzz.py -k second

lab: .venv/developer setup
	$(SERVERS) $(BIN)/python -m tests.lab.report

cluster: .venv/developer setup
	sh tests/lab/kube/install.sh
	$(SERVERS) $(BIN)/python -m tests.lab.kube.cluster

lint: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/developer
	sh deploy/kafka/install.sh
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(PYTHON) -m venv build/peers # quixstreams needs another confluent-kafka than ours
	build/peers/bin/pip install --quiet -r benchmarks/peers.txt
	$(BIN)/python -m benchmarks

record: .venv/developer setup
	$(SERVERS) $(BIN)/python tests/golden/record.py

mutants: .venv/developer
	$(BIN)/python tests/mutants.py

schemas: .venv/developer
	$(BIN)/python -m clientip.schemas

man: .venv/developer
	$(BIN)/clientip help man > deploy/clientip.1

clean:
	rm -rf .venv build/peers out .pytest_cache .mypy_cache .ruff_cache .hypothesis
