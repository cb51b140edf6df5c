"""The world of the integration tests, with a broker that a test may kill."""

import importlib.util
import sys
from pathlib import Path

_SOURCE = Path(__file__).parents[2] / "integration" / "webhook" / "conftest.py"
_spec = importlib.util.spec_from_file_location("webhook_world", _SOURCE)
assert _spec is not None
assert _spec.loader is not None
webhook_world = importlib.util.module_from_spec(_spec)
sys.modules["webhook_world"] = webhook_world
_spec.loader.exec_module(webhook_world)

google = webhook_world.google
