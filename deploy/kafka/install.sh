#!/bin/sh
# Installs Apache Kafka (the version of pom.xml) as jar files, and Java and Maven if they are missing. They are kept outside
# the clone, under their version, for all clones of this user; if they are there already, nothing is done.
# Usage: install.sh           install
#        install.sh --where   print the folder of the jar files
# CLIENTIP_CACHE: where to keep them instead of the user's cache folder.
set -eu
cd "$(dirname "$0")"
cache="${CLIENTIP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/clientip}"
version="$(sed -n '/kafka_2.13/{n;s/.*<version>\(.*\)<.*/\1/p;}' pom.xml)"
folder="$cache/kafka-$version-$(sha256sum <pom.xml | cut -c1-8)"
if [ "${1:-}" = --where ]; then
    echo "$folder/jars"
    exit
fi

mkdir -p "$cache"
exec 9>"$cache/kafka.lock"
flock 9 # of two at once the second finds everything there
missing=
command -v java >/dev/null || missing="$missing default-jre-headless"
command -v openssl >/dev/null || missing="$missing openssl"
[ -d "$folder" ] || command -v mvn >/dev/null || missing="$missing maven"
if [ "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "install.sh: run as root, or install first:$missing" >&2; exit 1; }
    apt-get -o DPkg::Lock::Timeout=600 update -qq
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -qq -y --no-install-recommends $missing >/dev/null
fi
[ ! -d "$folder" ] || exit 0

part="$(mktemp -d "$folder.XXXXXX")"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mvn --quiet --batch-mode --strict-checksums dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$part/jars" >"$part/log" || { cat "$part/log" >&2; exit 1; }
rm "$part/log"
chmod 755 "$part"
mv -T "$part" "$folder" # whole, or not at all
