#!/bin/sh
# Replays logs recorded from real servers, then explains one forged request. Needs the command `clientip` and nothing else.
set -eu
cd "$(dirname "$0")/../.."
clientip replay -c deploy/demo/clientip.toml -o out/demo --restart
echo
echo "One forged request, explained. The client wrote three X-Forwarded-For entries of its own:"
echo
line=$(grep -m 1 'traefik-json-lb-xff-lines' tests/golden/logs/traefik-json-lb.log)
clientip explain -c deploy/demo/clientip.toml --system traefik --line "$line"
echo "The enriched logs are in out/demo/enriched.ndjson, what could not be read in out/demo/rejected.ndjson."
