"""The keys of the configuration that only a stream reads; rows of `keys.KEYS`."""

from __future__ import annotations

from typing import Final

from clientip.config.value_shapes import BROKERS, COUNT, DURATION, FLAG, ONE_MESSAGE, TEXT, TOPIC, TOPICS, Key

OF_SYSTEMS: Final = (
    Key(
        "systems",
        "topics",
        TOPICS,
        "Kafka topics of its log, for `clientip stream`; a topic holds the log of one system.",
        '["raw.ingress"]',
        of_log=True,
    ),
    Key(
        "systems",
        "messages",
        ONE_MESSAGE,
        "What one Kafka message holds: a `line`, `lines`, a `json_array`, or OTLP logs whose bodies are lines.",
        '"lines"',
        default="line",
        of_log=True,
    ),
    Key(
        "systems",
        "instance_by",
        {"type": "string", "enum": ["key"]},
        "The part of a Kafka message that names the process which wrote the line: its `key`.",
        '"key"',
        of_log=True,
    ),
    Key(
        "systems",
        "arrives_within",
        DURATION,
        "How long after its event a line is in Kafka at the latest; a stream waits that long for its facts.",
        '"5m"',
        default="60s",
        of_log=True,
    ),
    Key(
        "systems",
        "longest",
        DURATION,
        "No request or connection of it lasts longer. A stream needs it to trust `lossless`. Default: the horizon.",
        '"30s"',
        of_log=True,
    ),
)

OF_STREAM: Final = (
    Key(
        "kafka",
        "brokers",
        BROKERS,
        "Brokers that are asked for the cluster first; two or three are enough.",
        '["kafka-1:9092"]',
    ),
    Key(
        "kafka",
        "prefix",
        TOPIC,
        "First word of every topic and group of ours: `PREFIX.records`, `PREFIX.join.1` …",
        '"clientip"',
        default="clientip",
    ),
    Key(
        "kafka",
        "generation",
        COUNT,
        "Number of the join topic; write another one after its partitions were changed.",
        "1",
        default=1,
    ),
    Key("kafka", "tls", FLAG, "Speak TLS with the brokers. Default: true if a file or `sasl` is given.", "true"),
    Key("kafka", "ca_file", TEXT, "Certificates that sign those of the brokers; else this machine's.", '"ca.pem"'),
    Key("kafka", "cert_file", TEXT, "The stream's own certificate, if brokers ask for one.", '"worker.pem"'),
    Key("kafka", "key_file", TEXT, "The key of `cert_file`.", '"worker.key"'),
    Key(
        "kafka",
        "sasl",
        {"type": "string", "enum": ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]},
        "How the stream proves to brokers who it is.",
        '"SCRAM-SHA-512"',
    ),
    Key("kafka", "user", TEXT, "Name for `sasl`.", '"clientip"'),
    Key("kafka", "password_file", TEXT, "A file with the password for `sasl`.", '"kafka.password"'),
    Key(
        "stream",
        "commit",
        DURATION,
        "How long messages are gathered into a batch before it is committed.",
        '"100ms"',
        default="100ms",
    ),
    Key("stream", "batch_lines", COUNT, "How many messages a batch holds at most.", "5000", default=5000),
    Key(
        "stream",
        "join_partitions",
        COUNT,
        "Partitions of the join topic when it is created. At most as many answerers share the work.",
        "16",
        default=16,
    ),
    Key(
        "stream",
        "replication",
        COUNT,
        "Copies of our topics when they are created. Default: 3, or as many as there are brokers.",
        "3",
    ),
    Key(
        "stream",
        "memory",
        COUNT,
        "Bytes of facts and questions that an answerer keeps. Above it the oldest become `unknown`, never a guess.",
        "1073741824",
        default=1 << 30,
    ),
    Key(
        "stream",
        "output",
        {"type": "string", "enum": ["enriched", "record"]},
        "How records are written (`clientip help outputs`).",
        '"record"',
        default="enriched",
    ),
    Key("stream", "spool", TEXT, "A folder for lines that wait; filled again from Kafka at every start.", '"/var/tmp"'),
)
