"""Hand-written stories are read strictly and happen in a world."""

import pytest

from drivewake.lab.google import SimulatedGoogle
from drivewake.lab.scenarios import stories
from drivewake.lab.scenarios.stories import StoryError, read_story, tell

CAST = "person alice@example.com 'Alice Adams'\nperson bob@example.com\n"


def example() -> str:
    """Return the story in the module's own documentation."""
    text = stories.__doc__ or ""
    return "\n".join(line for line in text.splitlines() if line.startswith("    "))


def test_the_documented_story_happens() -> None:
    """What the documentation shows can be told as it stands."""
    world = SimulatedGoogle()
    tell(world, read_story(example()))

    q3 = world.state.files[world.refs["q3"]]
    plans = world.state.files[world.refs["plans"]]
    assert ("q3-final.txt", b"second draft") == (q3.name, q3.content and q3.content.data)
    assert q3.drive is world.state.drives[world.refs["archive"]]
    assert plans.explicitly_trashed
    assert "Alice Adams" == world.state.user("alice@example.com").name
    assert ["staff@example.com"] == list(world.state.groups)


def test_a_share_says_who_has_access_from_then_on() -> None:
    """A re-share is another share; nobody takes it all back."""
    world = SimulatedGoogle()
    text = CAST + "alice file f as f\nalice share f writer bob, reader anyone\n"
    tell(world, read_story(text))
    shared = world.state.files[world.refs["f"]].shares
    tell(world, read_story(CAST + "alice file g as g\nalice share g reader bob\n"))
    tell(world, read_story(CAST + "alice file h as h\nalice share h nobody\n"))

    assert shared is not None
    assert ["reader", "writer"] == sorted(p.role for p in shared.values())
    assert world.state.files[world.refs["h"]].shares is None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("alice dances", "no such verb: dances"),
        ("carol folder x", "no such person: carol"),
        ("alice edit nothing x", "nothing is called nothing yet"),
        ("alice folder", "too few words"),
        ("alice folder a b", "unexpected: b"),
        ("alice share root owner bob", "no such role: owner"),
        ("alice share root reader", "share needs pairs"),
        ("alice folder 'x", "No closing quotation"),
        ("person nobody", "no address: nobody"),
    ],
)
def test_a_mistake_is_refused_with_its_line(line: str, complaint: str) -> None:
    """Nothing is skipped or guessed."""
    with pytest.raises(StoryError, match="line 3: ") as caught:
        read_story(CAST + line)

    assert complaint in str(caught.value)


def test_what_cannot_happen_is_refused_with_its_line() -> None:
    """Bob cannot rename what he does not see."""
    text = CAST + "alice file f as f\nbob rename f g\n"

    with pytest.raises(StoryError, match=r"line 4: .*File not found"):
        tell(SimulatedGoogle(), read_story(text))
