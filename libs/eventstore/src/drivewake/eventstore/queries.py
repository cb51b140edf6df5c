"""Named queries, from the files in `sql/queries/`.

A file is a sequence of queries, each below a header that names it and says what it is for:

    -- read_events: the next events of a lane
    select …
"""

import functools
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

_HEADER: Final = re.compile(r"^-- ([a-z_]+): .+$", re.MULTILINE)


def sql_directory() -> Path:
    """Return the folder of this package's SQL."""
    return Path(str(resources.files("drivewake.eventstore") / "sql"))


@functools.cache
def load_queries(name: str) -> Mapping[str, str]:
    """Return the queries of `sql/queries/{name}.sql` by their names."""
    text = (sql_directory() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _HEADER.split(text)
    return {
        header: body.strip().rstrip(";")
        for header, body in zip(parts[::2], parts[1::2], strict=True)
    }
