"""Read models that come with the store."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from drivewake.eventstore.projection import Projection
from drivewake.eventstore.projections.current_tree import CurrentTree

PROJECTIONS: Final[Mapping[str, Callable[[], Projection]]] = MappingProxyType(
    {CurrentTree.name: CurrentTree}
)
"""All of them, by name."""
