"""Small files with secrets in them, written whole or not at all; and directories another user can reach."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from domain.errors import ConfigError, MoodtapeError, Unavailable


def explain(error: OSError, place: Path) -> MoodtapeError:
    """The sentence for a file system that refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"The disk that holds {place} is full; free some room, or choose another --data-dir.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigError(f"{place} cannot be written ({error.strerror}); choose another directory by --data-dir.")
    return ConfigError(f"{place} cannot be used ({error.strerror}); choose another directory by --data-dir.")


def make_directory(path: Path, mode: int) -> Path:
    """Make a directory with this mode; an existing one keeps its own.

    Raises:
        ConfigError, Unavailable: it cannot be made.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            path.chmod(mode)
    except OSError as error:
        raise explain(error, path) from None
    return path


def write_json(path: Path, body: Any) -> None:
    """Replace a file atomically, readable by its owner only.

    Raises:
        ConfigError, Unavailable: the disk is full or refuses.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            json.dump(body, file, indent=1)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise explain(error, path.parent) from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is none, or a torn one."""
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def tail(path: Path, size: int = 4000, since: int = 0) -> str:
    """The last letters of a log, none before the byte ``since`` (unless the log was emptied meanwhile)."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            end = file.tell()
            file.seek(max(end - size, since if since <= end else 0, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def reachable(path: Path) -> bool:
    """Whether any user may walk to ``path`` and enter it."""
    path = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents) if place.is_dir())


def trim_log(path: Path, limit: int) -> None:
    """Keep a log that is open for appending below ``limit`` bytes: its end moves to ``.1``, the file starts anew."""
    try:
        if path.stat().st_size <= limit:
            return
        path.with_name(path.name + ".1").write_bytes(tail(path, limit // 2).encode())
        os.truncate(path, 0)
    except OSError:
        return
