"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from meshcentral.plugins.errors import MeshError


def replace_file(file: Path, data: bytes) -> None:
    """Write `data` to `file`, mode 0600, so that a reader sees the old or the new content. Raises MeshError."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise MeshError(f"cannot write {file}: {error.strerror}") from error
