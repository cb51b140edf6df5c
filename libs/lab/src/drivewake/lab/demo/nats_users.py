"""One NKEY user per service, with exactly the permissions of the contracts."""

import json
import secrets
from pathlib import Path

import msgspec
import nkeys

from drivewake.contracts.permissions import GRANTS, PROVISION_USER, inbox_prefix, permissions

ACCOUNT = "DRIVEWAKE"


class NatsUsers(msgspec.Struct, frozen=True):
    """The configuration that makes nats-server know the users, and the file of each seed."""

    config: str
    seeds: dict[str, Path]


def _new_user() -> tuple[str, str]:
    """Return a fresh (public key, seed)."""
    seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key
    return public.decode(), seed.decode()


def make_users(directory: Path) -> NatsUsers:
    """Make a user for each grant and one that provisions; write its seed to `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    seeds: dict[str, Path] = {}
    users = []
    for name, allowed in (
        *((grant.user, permissions(grant)) for grant in GRANTS),
        (PROVISION_USER, None),
    ):
        public, seed = _new_user()
        seeds[name] = directory / f"{name}.nk"
        seeds[name].write_text(seed)
        seeds[name].chmod(0o600)
        if allowed is None:
            rules: dict[str, object] = {
                "publish": {"allow": [">"]},
                "subscribe": {"allow": [f"{inbox_prefix(name)}.>"]},
            }
        else:
            rules = {
                "publish": {
                    "allow": list(allowed.publish),
                    "deny": list(allowed.deny_publish),
                },
                "subscribe": {"allow": list(allowed.subscribe)},
                "allow_responses": allowed.allow_responses,
            }
        users.append({"nkey": public, "permissions": rules})
    config = f"accounts {{ {ACCOUNT} {{ jetstream: enabled, users: {json.dumps(users)} }} }}"
    return NatsUsers(config=config, seeds=seeds)
