"""What an environment holds in which one service is installed, as its image is."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from drivewake.lab.environments import Environment, workspace_distributions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("auth", "webhook", "poller", "normalizer")
NOT_IN_IMAGES = ("lab", "cli")
WITH_VERBS = {"normalizer"}
"""Services that bring verbs of the operator command, and so the command itself."""
BY_EXTRA = {"drivewake.runtime.jwks": {"auth", "webhook"}}
"""Modules that need an extra of their distribution (`runtime[jwt]`), and who asks for it."""

_FIND = """
import importlib.metadata, importlib.util, json, sys
found = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
ours = [d.name for d in importlib.metadata.distributions() if d.name.startswith("drivewake")]
print(json.dumps({"modules": found, "distributions": sorted(ours)}))
"""

_IMPORT = """
import importlib, json, sys
problems = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        assert module.__file__.startswith(sys.prefix), module.__file__
    except Exception as error:
        problems[name] = f"{type(error).__name__}: {error}"
print(json.dumps(problems))
"""


def _portions(environment: Environment) -> list[Path]:
    """Return the folders of our portions in an environment."""
    return sorted(environment.site_packages.joinpath("drivewake").iterdir())


def _files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_of_other_services_is_installed(
    service: str, alone: Callable[[str], Environment]
) -> None:
    """Its own package can be found; no other service, no lab, no tool of developers can."""
    environment = alone(service)
    own = {service, "cli"} if service in WITH_VERBS else {service}
    absent = [name for name in (*SERVICES, *NOT_IN_IMAGES) if name not in own]
    names = [f"drivewake.{name}" for name in (service, *absent)]
    done = environment.run(environment.python, "-I", "-c", _FIND, *names, "pytest", "mypy", "ruff")
    assert "" == done.stderr
    found = json.loads(done.stdout)
    assert [f"drivewake.{service}"] == found["modules"]
    assert f"drivewake-{service}" in found["distributions"]
    assert set() == {f"drivewake-{name}" for name in absent} & set(found["distributions"])


@pytest.mark.parametrize("service", SERVICES)
def test_every_module_imports_from_the_environment_itself(
    service: str, alone: Callable[[str], Environment]
) -> None:
    """No module needs what no distribution declared, and none comes from the source tree."""
    environment = alone(service)
    names = [
        ".".join(path.relative_to(environment.site_packages).with_suffix("").parts)
        for portion in _portions(environment)
        for path in portion.rglob("*.py")
    ]
    names = [name.removesuffix(".__init__") for name in names]
    names = [name for name in names if service in BY_EXTRA.get(name, {service})]
    assert f"drivewake.{service}.__main__" in names
    done = environment.run(environment.python, "-I", "-c", _IMPORT, *names)
    assert "" == done.stderr
    assert {} == json.loads(done.stdout)


@pytest.mark.parametrize("service", SERVICES)
def test_wheels_carry_every_file_of_their_sources(
    service: str, alone: Callable[[str], Environment]
) -> None:
    """SQL, typing markers and whatever else lies beside the modules is installed with them."""
    for portion in _portions(alone(service)):
        (source,) = ROOT.glob(f"*/{portion.name}/src/drivewake/{portion.name}")
        assert _files(source) == _files(portion)


def test_a_changed_source_is_in_the_next_environment(
    tmp_path: Path, uv: Path, uv_environ: dict[str, str]
) -> None:
    """With a warm cache too, an environment holds what the sources say now, not an older wheel."""
    tree, members = tmp_path / "tree", list(ROOT.glob("*/*/pyproject.toml"))
    for path in (ROOT / "pyproject.toml", ROOT / "uv.lock", *members):
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    portions = [name.removeprefix("drivewake-") for name in workspace_distributions(ROOT)]
    sources = [
        tree / path.parent.relative_to(ROOT) / "src/drivewake" / path.parent.name
        for path in members
    ]
    for path, source in zip(members, sources, strict=True):
        shutil.copy(path.with_name("README.md"), tree / path.parent.relative_to(ROOT))
        source.mkdir(parents=True)
        source.joinpath("__init__.py").touch()

    def sync(name: str) -> Path:
        environ = {
            **uv_environ,
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "UV_PROJECT_ENVIRONMENT": str(tmp_path / name),
        }
        command = [
            *(str(uv), "sync", "--frozen", "--no-dev", "--no-editable"),
            "--only-install-workspace",
        ]
        subprocess.run(command, cwd=tree, env=environ, check=True, capture_output=True)
        return Environment(tmp_path / name).site_packages / "drivewake"

    before = sync("before")
    assert portions == sorted(path.name for path in before.iterdir())
    for source in sources:
        source.joinpath("later.sql").write_text("select 1;\n")
    assert portions == sorted(path.parent.name for path in sync("after").glob("*/later.sql"))
