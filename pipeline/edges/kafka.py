"""How every client of ours reaches the cluster, and the questions about it that need no membership in a group."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipeline.errors import ConfigError, Fault
from pipeline.settings import Kafka

_FILES: Final = {  # the setting of librdkafka that takes the path
    "ca_file": "ssl.ca.location",
    "cert_file": "ssl.certificate.location",
    "key_file": "ssl.key.location",
}
_PROTOCOLS: Final = {  # by whether there is a password, and whether there is TLS
    (False, False): "PLAINTEXT",
    (False, True): "SSL",
    (True, False): "SASL_PLAINTEXT",
    (True, True): "SASL_SSL",
}


def client_settings(kafka: Kafka) -> dict[str, str]:
    """The settings of librdkafka that all clients share: where the cluster is, TLS, and who we are.

    The password is in them: never log them.  Errors: ConfigError where a file cannot be read.
    """
    faults: list[Fault] = []
    held = {name: _content(name, getattr(kafka, name), faults) for name in (*_FILES, "password_file")}
    password = _password(held["password_file"], faults)
    if faults:
        raise ConfigError(faults)
    settings = {"bootstrap.servers": ",".join(kafka.brokers), "client.id": "clientip"}
    settings["security.protocol"] = _PROTOCOLS[kafka.sasl is not None, kafka.tls]
    if kafka.tls:
        paths = {setting: getattr(kafka, name) for name, setting in _FILES.items()}
        settings |= {setting: path for setting, path in paths.items() if path is not None}
    if kafka.sasl is not None:
        settings |= {"sasl.mechanism": kafka.sasl, "sasl.username": kafka.user or "", "sasl.password": password}
    return settings


def _content(name: str, path: str | None, faults: list[Fault]) -> bytes:
    """What is in a file; nothing where none is named."""
    if path is None:
        return b""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        faults.append(Fault("", f"kafka.{name}", f"cannot read {path}: {error.strerror}"))
        return b""
    if not content.strip():
        faults.append(Fault("", f"kafka.{name}", f"{path} is empty"))
    return content


def _password(content: bytes, faults: list[Fault]) -> str:
    """The content without the end of its line, which an editor has put there."""
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        faults.append(Fault("", "kafka.password_file", "is not UTF-8"))
        return ""
