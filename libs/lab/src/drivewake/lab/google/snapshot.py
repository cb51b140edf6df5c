"""A world in a file: written when the simulator stops, read when it goes on.

The file is a line that names the format, a line with a SHA-256, and pickled tables. Reading
makes no object but those named here, so a foreign file is refused and never executed. What
points to each other without end (people, groups, files, drives) is flattened: each is one
record, and others refer to it by number; the depth of the world does not matter.

Kept: people, groups, files with content, permissions, shared drives, change logs, activities,
consents and tokens, clients, service accounts, channels and what they still have to tell,
faults, receivers of security events, ledger, refs. Not kept, because none outlives a server
either: quota spent in this minute, begun uploads, security events on their way.
"""

import hashlib
import io
import os
import pickle
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drivewake.lab.google import (
    access,
    activity_book,
    activity_index,
    changelog,
    faults,
    grants,
    history,
    ids,
    ledger,
    model,
    push,
    risc,
    service_accounts,
)
from drivewake.lab.google.world import SimulatedGoogle

_MAGIC = b"drivewake-google-sim state 2\n"
_NODES: tuple[type, ...] = (model.User, model.Group, model.File, model.SharedDrive)
_LEAVES: tuple[type, ...] = (
    access.Access,
    activity_book.Record,
    activity_index.ActivityIndex,
    changelog.ChangeLog,
    faults.Armed,
    faults.Rule,
    grants.AccessToken,
    grants.Client,
    grants.Code,
    grants.Grant,
    grants.RefreshToken,
    history.History,
    history.Image,
    history.Membership,
    history.Opening,
    ids.Ids,
    ledger.ActivityFact,
    ledger.ChangeFact,
    ledger.FaultFact,
    ledger.GrantFact,
    ledger.GroupFact,
    ledger.PageFact,
    ledger.PushFact,
    ledger.RequestFact,
    ledger.SecurityFact,
    model.Comment,
    model.Content,
    model.Extras,
    model.Permission,
    model.Reply,
    model.Revision,
    push.Message,
    risc.Receiver,
    service_accounts.ServiceAccount,
)
_FOREIGN = frozenset(
    {("array", "array"), ("array", "_array_reconstructor"), ("collections", "Counter")}
    | {
        ("random", "Random"),
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("msgspec._utils", "rebuild"),
    }
)
_ALLOWED = _FOREIGN | {(kind.__module__, kind.__qualname__) for kind in _LEAVES}
_CHANNEL = (
    *("id", "resource_id", "resource_uri", "address", "token", "expires_ms", "log"),
    *("user_email", "client_id", "number", "gathered"),
)
_KEPT = {
    "grants": (
        *("_ids", "clients", "_grants", "_codes", "_refresh", "_access", "_used_ns", "_dead"),
    ),
    "faults": ("_made", "armed"),
    "activities": ("records", "latest", "index", "_paths", "_titles"),
    "push": ("_ids", "used_ids", "watched_files"),
    "security": ("_ids", "receivers"),
}
"""Of these parts of the world, the attributes that are kept; the rest is the process's."""


class ForeignFileError(ValueError):
    """The file is no state of a simulated Google, is damaged, or is of another world."""


def save(world: SimulatedGoogle, path: Path) -> None:
    """Write a stopped world, whole or not at all. Raises OSError.

    The file holds tokens and is readable by its owner alone.
    """
    body = _pack(world)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(number, "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def load(world: SimulatedGoogle, path: Path) -> None:
    """Let a new world, whose delivery has not begun, go on as the saved one.

    People and the client of its options are there as well. Raises ForeignFileError, OSError.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ForeignFileError(f"{path} is no state of a simulated Google, version 2.")
        digest, body = file.readline().strip(), file.read()
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ForeignFileError(f"{path} is damaged.")
    try:
        parts = _unpack(body)
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        TypeError,
        LookupError,
        ValueError,
    ) as error:
        raise ForeignFileError(f"{path} cannot be read: {error}") from error
    if parts["seed"] != world.options.seed:
        raise ForeignFileError(f"{path} is of a world with the seed {parts['seed']}.")
    _restore(world, parts)


def _pack(world: SimulatedGoogle) -> bytes:
    parts: dict[str, Any] = {
        "seed": world.options.seed,
        "state": vars(world.state),
        "ledger": vars(world.ledger),
        "accounts": world.service_accounts.accounts,
        "refs": world.refs,
        "channels": [_channel_record(channel) for channel in world.push.channels.values()],
    }
    for name, kept in _KEPT.items():
        held = vars(getattr(world, name))
        parts[name] = {key: held[key] for key in kept}
    return _Pickler.pack(parts)


def _restore(world: SimulatedGoogle, parts: dict[str, Any]) -> None:
    wanted, client = world.options.users, world.grants.clients[world.options.client_id]
    vars(world.state).update(parts["state"])
    vars(world.ledger).update(parts["ledger"])
    for name in _KEPT:
        vars(getattr(world, name)).update(parts[name])
    world.service_accounts = service_accounts.ServiceAccounts(world.grants, world.state.users)
    world.service_accounts.accounts.update(parts["accounts"])
    world.refs.update(parts["refs"])
    for record in parts["channels"]:
        world.push.adopt(_channel(record))
    world.grants.clients[client.client_id] = client
    for email in wanted:
        if email.lower() not in world.state.users:
            world.add_user(email)


def _channel_record(channel: push.Channel) -> tuple[dict[str, Any], list[push.Message]]:
    """Return what is kept of a channel; messages are due so many seconds from now."""
    now_s = time.monotonic()
    waiting = [message._replace(due_s=message.due_s - now_s) for message in channel.queue]
    return {name: getattr(channel, name) for name in _CHANNEL}, waiting


def _channel(record: tuple[dict[str, Any], list[push.Message]]) -> push.Channel:
    fields, waiting = record
    now_s = time.monotonic()
    queue = [message._replace(due_s=message.due_s + now_s) for message in waiting]
    return push.Channel(**fields, queue=queue)


def _fields(node: Any) -> dict[str, Any]:  # noqa: ANN401 - one of _NODES
    """Return a node's attributes; what it caches about access is worked out again."""
    names = [name for name in type(node).__slots__ if hasattr(node, name)]
    return {name: getattr(node, name) for name in names if not name.startswith("grants")}


class _Pickler(pickle.Pickler):
    """Writes nodes as numbers and remembers which there are."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.nodes: list[Any] = []
        self._numbers: dict[int, int] = {}

    @classmethod
    def pack(cls, parts: dict[str, Any]) -> bytes:
        """Return the root, then every node that was met, in order of meeting, then None."""
        out = io.BytesIO()
        pickler = cls(out)
        pickler.dump(parts)
        at = 0
        while at < len(pickler.nodes):  # grows while it is written
            pickler.dump(_fields(pickler.nodes[at]))
            at += 1
        pickler.dump(None)
        return out.getvalue()

    def persistent_id(self, obj: Any) -> Any:  # noqa: ANN401 - of pickle
        """Return what stands for a node or a public key; None for what stands for itself."""
        if isinstance(obj, _NODES):
            number = self._numbers.setdefault(id(obj), len(self.nodes))
            if number == len(self.nodes):
                self.nodes.append(obj)
            return _NODES.index(type(obj)), number
        if isinstance(obj, rsa.RSAPublicKey):
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            return -1, obj.public_bytes(serialization.Encoding.DER, form)
        return None


class _Unpickler(pickle.Unpickler):
    """Makes the objects of this simulator and nothing else."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.nodes: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - of pickle
        """Return an allowed class. Raises UnpicklingError for any other."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into a world")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 - of pickle
        """Return the node, empty when it is met first, or the public key."""
        kind, number = pid
        if kind == -1:
            return serialization.load_der_public_key(number)
        if number == len(self.nodes):
            self.nodes.append(_NODES[kind].__new__(_NODES[kind]))
        return self.nodes[number]


def _unpack(body: bytes) -> dict[str, Any]:
    unpickler = _Unpickler(io.BytesIO(body))
    parts: dict[str, Any] = unpickler.load()
    at = 0
    while (fields := unpickler.load()) is not None:
        node = unpickler.nodes[at]
        if isinstance(node, model.File):
            fields = {**fields, "grants": None, "grants_epoch": -1}
        for name, value in fields.items():
            setattr(node, name, value)
        at += 1
    return parts
