"""The guide for strangers does what it says: its snippets run as they stand, in order."""

import contextlib
import io
import re
from pathlib import Path

from drivewake.lab.google import Options, RunningGoogle, SimulatedGoogle
from drivewake.lab.google.faults import read_scenario
from drivewake.lab.scenarios.stories import read_story, tell

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

    assert 6 == len(snippets)
    assert promised == printed.getvalue().splitlines()[: len(promised)]
    assert 3 == len(promised)
    names["drive"].close()  # type: ignore[attr-defined]


def test_the_guides_scenario_and_story_are_what_the_options_take() -> None:
    """The TOML is a scenario of one fault; the text is a story that can happen."""
    guide = GUIDE.read_text()
    (scenario,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    (story,) = re.findall(r"```text\n(.*?)```", guide, re.DOTALL)
    world = SimulatedGoogle(Options())

    tell(world, read_story(story))

    assert {"Plans", "q3-final.txt"} <= {file.name for file in world.state.files.values()}
    assert 1 == len(read_scenario(scenario).fault)
