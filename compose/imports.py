"""Imports every module of the packages named: an image that lacks a library fails while it is built, not when it runs.

It also leaves the bytecode of what was imported, which the services' own user could not write.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

LAZY = {
    "workers": ["kombu.transport.redis"],
    "streaming": ["lz4.frame", "crc32c", "ccxt.pro", "pyarrow.parquet", "pyarrow.csv"],
    "web": ["uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.on", "multipart"],
    "bot": ["aiohttp.web"],
    "db": ["psycopg_binary", "sqlalchemy.dialects.postgresql.psycopg"],
}
"""What a package, or a library of its own, imports only when it is used."""


def modules(package: str) -> list[str]:
    """The package and every module below it."""
    paths = importlib.import_module(package).__path__
    names = [package, *(found.name for found in pkgutil.walk_packages(paths, f"{package}."))]
    return [name for name in names if name != "moodtape.__main__"]  # the one that is a program when it is imported


def main(packages: list[str]) -> int:
    """Import them all; returns the exit status, 1 with a line for each module that cannot be imported."""
    missing, found = [], {package: modules(package) for package in packages}
    for package, names in found.items():
        for name in [*names, *LAZY.get(package.partition(".")[0], ())]:
            try:
                importlib.import_module(name)
            except ImportError as error:
                missing.append(f"{name}: {error}")
    print("\n".join(missing) or f"{sum(map(len, found.values()))} modules import")  # noqa: T201
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
