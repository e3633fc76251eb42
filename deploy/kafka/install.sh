#!/bin/sh
# Installs Apache Kafka (the version of pom.xml) as jar files in TARGET/kafka/jars, and Java and Maven if they are missing.
# Usage: install.sh TARGET   (a virtual environment, where tests/worlds/brokers.py looks). Does nothing when it is all there.
set -eu
target="${1:?usage: install.sh TARGET}"
pom="$(dirname "$0")/pom.xml"

missing=
command -v java >/dev/null || missing="$missing default-jre-headless"
command -v openssl >/dev/null || missing="$missing openssl"
# The copied pom.xml comes last, so that it also says: these jars are complete, and they are of this version.
if cmp -s "$pom" "$target/kafka/pom.xml"; then complete=yes; else complete=; fi
[ "$complete" ] || command -v mvn >/dev/null || missing="$missing maven"
if [ "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "install.sh: run as root, or install first:$missing" >&2; exit 1; }
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
[ ! "$complete" ] || exit 0

mkdir -p "$target"
part="$(mktemp -d "$target/kafka.XXXXXX")"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mvn --quiet --batch-mode --strict-checksums --file "$pom" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$(cd "$part" && pwd)/jars" >"$part/log" || { cat "$part/log" >&2; exit 1; }
rm "$part/log"
cp "$pom" "$part/pom.xml"
chmod 755 "$part"
rm -rf "$target/kafka"
mv -T "$part" "$target/kafka"
