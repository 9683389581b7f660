"""Published files: found in the user's data folder, or downloaded into it on request, under their checksum."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from flowopt.core._files import replacing
from flowopt.core._progress import progress_bar
from flowopt.core.errors import BadValue

BLOCK = 1 << 20
"""Bytes read at a time."""
PATIENCE = 30.0
"""Seconds without an answer after which a download is given up."""


class Resource(NamedTuple):
    """A published file."""

    names: tuple[str, ...]
    """Where it may lie, below the data folder; a download goes to the first."""
    url: str
    sha256: str | None
    """Its published checksum; what has none is not downloaded."""


def obtain(dataset: str, resources: Sequence[Resource], data_dir: str | Path | None, download: bool) -> list[Path]:
    """The paths of a dataset's files, in the order of `resources`; what is missing is downloaded if that is wanted.

    Raises BadValue where a file is missing (saying which, where it is looked for and where to get it) or its download
    fails or has another checksum; then nothing of it is left behind.
    """
    if data_dir is None:
        raise BadValue(
            f"{dataset} is read from files; give their folder: --data-dir DIR (data_dir=...). {_way(resources)}"
        )
    folder = Path(data_dir).expanduser()
    found = {resource: _find(resource, folder) for resource in resources}
    missing = [resource for resource, path in found.items() if path is None]
    if missing and not download:
        raise BadValue(f"{dataset}: {len(missing)} of {len(resources)} files are not in {folder}. {_way(missing)}")
    return [path or fetch(resource, folder) for resource, path in found.items()]


def fetch(resource: Resource, folder: Path) -> Path:
    """Download one file below the folder. Raises BadValue where that fails; no part of it is left behind."""
    if resource.sha256 is None:
        raise BadValue(f"no checksum is published for {resource.url}, so download it yourself: {_way([resource])}")
    target = folder / resource.names[0]
    digest = hashlib.sha256()
    with replacing(target) as file:
        for block in _blocks(resource.url):
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != resource.sha256:
            raise BadValue(
                f"{resource.url} gave {file.tell()} bytes with the SHA-256 checksum {digest.hexdigest()}, not the "
                f"published {resource.sha256}; they were thrown away. Try again, or put the file at {target} yourself"
            )
    return target


def _blocks(url: str) -> Iterator[bytes]:
    from http.client import HTTPException
    from urllib.request import urlopen

    done = 0
    try:
        with urlopen(url, timeout=PATIENCE) as response:
            size = int(response.headers.get("Content-Length", 0))
            with progress_bar(sys.stderr.isatty(), url.rpartition("/")[2], size) as bar:
                while block := response.read(BLOCK):
                    yield block
                    done += len(block)
                    bar(done)
    except (OSError, HTTPException) as error:
        raise BadValue(
            f"cannot download {url}: {error}; is there a network? Or download the file by other means"
        ) from error


def _find(resource: Resource, folder: Path) -> Path | None:
    return next((folder / name for name in resource.names if (folder / name).exists()), None)


def _way(resources: Sequence[Resource]) -> str:
    wanted = "; ".join(f"{' or '.join(resource.names)} (from {resource.url})" for resource in resources)
    offer = ". Or let them be downloaded: --download (download=True)" if all(r.sha256 for r in resources) else ""
    return f"Expected there: {wanted}{offer}"
