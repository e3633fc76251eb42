#!/bin/sh
# Starts a broker, creates the topics, runs a stream and feeds it recorded logs until Ctrl-C. `make demo-stream` calls it.
# It writes below build/demo-stream only, and needs the Python of a virtual environment, and the jars of
# deploy/kafka/install.sh. DEMO_SECONDS, DEMO_RATE, DEMO_FOLDER: see start.py.
set -eu
cd "$(dirname "$0")/../../.."
exec "${1:-.venv/bin/python}" -m deploy.demo.stream.start
