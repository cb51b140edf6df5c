"""Where files stand in the tree."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from drivewake.eventstore.projections.tree_paths import FOLDER, MAX_PATHS, Node, place


def file(id_: str, *parents: str, name: str = "", trashed: bool = False) -> Node:
    """Return a file."""
    return Node(
        file=id_,
        name=name or id_,
        mime_type="text/plain",
        parents=parents,
        version=1,
        trashed=trashed,
    )


def folder(id_: str, *parents: str, trashed: bool = False) -> Node:
    """Return a folder."""
    return Node(file=id_, name=id_, mime_type=FOLDER, parents=parents, version=1, trashed=trashed)


def found(*nodes: Node, root: str = "") -> list[str]:
    """Return the paths, joined."""
    return ["/".join(placed.path) for placed in place(nodes, root)]


def test_paths_go_through_folders() -> None:
    """A file's path is the names of its folders and its own; folders are not listed."""
    nodes = [file("f", "b"), folder("b", "a"), folder("a", "r"), file("g", "r")]
    assert found(*nodes, root="r") == ["a/b/f", "g"]


def test_root_may_be_a_folder_that_is_known() -> None:
    """Below a known folder, paths begin there and what is beside it is left out."""
    nodes = [folder("r"), folder("a", "r"), file("f", "a"), file("g", "r"), file("h")]
    assert found(*nodes, root="a") == ["f"]
    assert found(*nodes) == ["h", "r/a/f", "r/g"]


def test_unknown_parents_make_a_top() -> None:
    """Without a root, what has no known parent stands at the top."""
    assert found(file("f", "unknown"), folder("a", "unknown"), file("g", "a")) == ["a/g", "f"]


def test_trash_hides_what_is_in_it() -> None:
    """A trashed file has no path, and neither has anything below a trashed folder."""
    nodes = [folder("a", trashed=True), folder("b", "a"), file("f", "b"), file("g", trashed=True)]
    assert found(*nodes) == []


def test_file_in_two_folders_has_two_paths() -> None:
    """Several parents are several paths; a file may also stand in one folder twice by name."""
    nodes = [folder("a"), folder("b"), file("f", "a", "b"), file("g", "b", name="f")]
    assert found(*nodes) == ["a/f", "b/f", "b/f"]


def test_folders_in_a_circle_are_nowhere() -> None:
    """Folders that contain each other have no path, nor has what is in them."""
    nodes = [folder("a", "b"), folder("b", "a"), folder("c", "c"), file("f", "a"), file("g", "c")]
    assert found(*nodes, file("h")) == ["h"]


def test_depth_is_no_limit() -> None:
    """A path may be thousands of folders deep."""
    folders = [folder("d0", "r"), *(folder(f"d{n}", f"d{n - 1}") for n in range(1, 3000))]
    (placed,) = place([file("f", "d2999"), *folders], "r")
    assert len(placed.path) == 3001


def test_paths_of_one_folder_are_bounded() -> None:
    """With two parents at each of thirty levels there are a billion paths: a hundred are kept."""
    nodes = [folder("a0"), folder("b0")]
    for level in range(1, 31):
        above = (f"a{level - 1}", f"b{level - 1}")
        nodes += [folder(f"a{level}", *above), folder(f"b{level}", *above)]
    assert len(place([*nodes, file("f", "a30")])) == MAX_PATHS


IDS = st.integers(0, 12).map(str)
NODES = st.dictionaries(
    IDS, st.tuples(st.booleans(), st.booleans(), st.lists(IDS, max_size=2)), max_size=13
)


@given(tree=NODES)
def test_every_path_is_a_chain_of_parents(tree: dict[str, tuple[bool, bool, list[str]]]) -> None:
    """Whatever the parents are, each path climbs by live folders to a top; none is trashed."""
    nodes = {
        id_: ((folder if is_folder else file)(id_, *parents, trashed=dead))
        for id_, (is_folder, dead, parents) in tree.items()
    }
    for placed in place(nodes.values()):
        chain = [nodes[id_] for id_ in placed.path]  # names are ids here
        assert not any(node.trashed for node in chain)
        assert all(node.mime_type == FOLDER for node in chain[:-1])
        for above, below in itertools.pairwise(chain):
            assert above.file in below.parents
        assert not any(
            parent in nodes and nodes[parent].mime_type == FOLDER for parent in chain[0].parents
        )
