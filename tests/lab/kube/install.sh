#!/bin/sh
# Installs what the labs with a real Kubernetes need beside Go, as Debian packages. Kubernetes itself is built by build.sh. Run as root.
set -eu
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    etcd-server containerd runc containernetworking-plugins iproute2 iptables nftables conntrack util-linux openssl gcc libc6-dev haproxy
