"""The command of a service: a few verbs, help that teaches, every foreseeable error one line."""

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from drivewake.runtime.errors import ConfigurationError, DrivewakeError
from drivewake.runtime.lifecycle import EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_OK
from drivewake.runtime.settings import ServiceSettings, load, masked

HELP: Final = ("-h", "--help", "help")


class Verb(NamedTuple):
    """What a service can be told: one line about it, and what does it (returns the exit code).

    `choices` are its options: the values that `--name` may have, the first one where it is not
    given. `run` gets them by name.
    """

    summary: str
    run: Callable[..., int]
    choices: Mapping[str, Sequence[str]] = MappingProxyType({})


def run_command(
    name: str, verbs: Mapping[str, Verb], arguments: Sequence[str] | None = None
) -> int:
    """Do one verb of the service `name`; return the exit code.

    0 done, 1 failed, 2 wrong usage or settings (each problem on a line of its own).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) == 1 and given[0] in HELP:
        sys.stdout.write(_usage(name, verbs))
        return EXIT_OK
    verb = verbs.get(given[0]) if given else None
    chosen = None if verb is None else _chosen(verb.choices, given[1:])
    if verb is None or chosen is None:
        sys.stderr.write(_usage(name, verbs))
        return EXIT_MISCONFIGURED
    try:
        return verb.run(**chosen)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_MISCONFIGURED
    except DrivewakeError as error:
        sys.stderr.write(f"{name} cannot {given[0]}: {error}\n")
        return EXIT_FAILED


def _chosen(
    choices: Mapping[str, Sequence[str]], arguments: Sequence[str]
) -> dict[str, str] | None:
    """Return the value of each option (`--name value` or `--name=value`); None on wrong usage."""
    chosen = {name: values[0] for name, values in choices.items()}
    words = [part for argument in arguments for part in argument.split("=", 1)]
    if len(words) % 2:
        return None
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("--")
        if name == option or value not in choices.get(name, ()):
            return None
        chosen[name] = value
    return chosen


def show_settings(settings_cls: type[ServiceSettings], *more: Callable[[], str]) -> int:
    """Read the settings and print them, secrets masked; `more` adds lines of the service's own."""
    for name, value in masked(load(settings_cls)).items():
        sys.stdout.write(f"{name}={value}\n")
    for line in more:
        sys.stdout.write(f"{line()}\n")
    return EXIT_OK


def _usage(name: str, verbs: Mapping[str, Verb]) -> str:
    lines = [f"usage: drivewake-{name} VERB   (or: python -m drivewake.{name} VERB)"]
    for verb, what in verbs.items():
        lines.append(f"  {verb:<8} {what.summary}")
        lines += [
            f"  {'':<8}   --{option} {'|'.join(values)} (default: {values[0]})"
            for option, values in what.choices.items()
        ]
    lines.append(f"Settings are environment variables DRIVEWAKE_…; `drivewake-{name} check`")
    lines.append("shows those in force, or says what is missing.")
    return "\n".join(lines) + "\n"
