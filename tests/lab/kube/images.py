"""Container images from files on this machine: there is no registry in the lab."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SANDBOX = "registry.k8s.io/pause:3.8"  # the name containerd asks for
_PAUSE = """#include <signal.h>
#include <unistd.h>
static void end(int number) { _exit(number == SIGTERM ? 0 : 1); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""


def sandbox(folder: Path) -> Path:
    """The image that holds a pod's namespaces open: a program that does nothing."""
    binary = folder / "pause"
    compiler = ["gcc", "-static", "-Os", "-x", "c", "-", "-o", str(binary)]
    subprocess.run(compiler, input=_PAUSE, text=True, check=True)
    return image(SANDBOX, {"/pause": binary}, ["/pause"], folder / "pause.tar")


def image(name: str, files: Mapping[str, Path], entrypoint: Sequence[str], archive: Path) -> Path:
    """Writes an image of one layer in the form of `docker save`; the files are made executable."""
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as made:
        for folder in ("tmp", "etc", "var", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            made.addfile(entry)
        for inside, source in files.items():
            entry = tarfile.TarInfo(inside.lstrip("/"))
            entry.size, entry.mode = source.stat().st_size, 0o755
            with source.open("rb") as content:
                made.addfile(entry, content)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin", "HOME=/tmp"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{}],
        }
    ).encode()
    named = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": named, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as made:
        made.add(layer, "layer.tar")
        for path, text in ((named, config), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            made.addfile(entry, io.BytesIO(text))
    layer.unlink()
    return archive
