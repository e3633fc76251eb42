#!/bin/sh
# Installs what the small lab runs, beside the servers of ../golden/install.sh.
# Usage: install.sh [VENV]
set -eu
sh "$(dirname "$0")/../golden/install.sh" "$@"
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    nginx-light haproxy iproute2 iptables nftables conntrack ulogd2 ulogd2-json procps openssl util-linux groff-base
