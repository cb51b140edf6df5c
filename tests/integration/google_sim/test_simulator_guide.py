"""The guide for strangers does what it says: its snippets run as they stand, in order."""

import contextlib
import io
import re
from pathlib import Path

from drivewake.lab.google import RunningGoogle

GUIDE = Path(__file__).parents[3] / "docs" / "simulator.md"


def test_the_guides_snippets_run_and_print_what_they_promise(google: RunningGoogle) -> None:
    """What stands behind `# ` after a print is what it prints."""
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    promised = re.findall(r"print\(.*\)  # (.*)", "".join(snippets))
    names: dict[str, object] = {}
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        for snippet in snippets:
            exec(snippet.replace("http://127.0.0.1:8085", google.base_url), names)

    assert 5 == len(snippets)
    assert promised == printed.getvalue().splitlines()[: len(promised)]
    assert 2 == len(promised)
    names["drive"].close()  # type: ignore[attr-defined]
