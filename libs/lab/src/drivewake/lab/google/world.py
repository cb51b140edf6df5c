"""The simulated Google as one object: state, grants, quota, push and ledger behind one clock.

Tests use it in process; the web application (`app.py`) is a face on it. It is not thread
safe: touch it from the loop that serves it (`RunningGoogle.call` does).
"""

import hashlib
import time
from collections.abc import Callable, Iterable

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from drivewake.lab.google.activity_book import ActivityBook
from drivewake.lab.google.faults import Faults
from drivewake.lab.google.grants import Client, Grants
from drivewake.lab.google.keys import derive_key
from drivewake.lab.google.ledger import ChangeFact, GrantFact, GroupFact, Ledger
from drivewake.lab.google.model import Change, Group, User
from drivewake.lab.google.profiles import PROFILES, Profile
from drivewake.lab.google.push import Push
from drivewake.lab.google.quota import Quota
from drivewake.lab.google.risc import SecurityEvents
from drivewake.lab.google.service_accounts import ServiceAccount, ServiceAccounts
from drivewake.lab.google.state import DriveState

DEFAULT_CLIENT_ID = "000000000000-simulated.apps.googleusercontent.com"
DEFAULT_CLIENT_SECRET = "GOCSPX-simulated"  # noqa: S105 - a public secret of a simulated client


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a simulated Google.

    `issuer` is what id tokens and the discovery document say; Google's own client refuses
    any other than Google's. `https_only` refuses push addresses without TLS, loopback too.
    """

    seed: int = 0
    profile: Profile = PROFILES["relaxed"]
    access_ttl_s: int = 3599
    issuer: str = "https://accounts.google.com"
    https_only: bool = False
    client_id: str = DEFAULT_CLIENT_ID
    client_secret: str = DEFAULT_CLIENT_SECRET
    redirect_uris: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class SimulatedGoogle:
    """One Google. `now_ns` is the wall clock; nothing else is read from the machine."""

    def __init__(
        self, options: Options | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.options = options or Options()
        self.now_ns = now_ns
        self.state = DriveState(self.options.seed)
        self.ledger = Ledger()
        self.grants = Grants(self.options.seed, self.options.access_ttl_s)
        self.grants.on_death = self._note_death
        self.service_accounts = ServiceAccounts(self.grants, self.state.users)
        self.security = SecurityEvents(
            self.options.seed, self.options.issuer, self.signing_key, self.ledger, now_ns
        )
        self.quota = Quota(self.options.profile)
        self.faults = Faults(self.options.seed, self.ledger)
        self.activities = ActivityBook(self.state)
        self.push = Push(self.options.profile, self.ledger, now_ns, self.options.seed, self.faults)
        self.refs: dict[str, str] = {}
        client = Client(
            self.options.client_id,
            self.options.client_secret,
            "simulated-project",
            self.options.redirect_uris,
        )
        self.grants.clients[client.client_id] = client
        for email in self.options.users:
            self.add_user(email)

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self.now_ns() // 1_000_000

    def signing_key(self) -> rsa.RSAPrivateKey:
        """Return the key that signs id tokens and security events; the seed decides it."""
        return derive_key(f"{self.options.seed}/signing")

    def add_service_account(
        self, name: str, project: str
    ) -> tuple[ServiceAccount, rsa.RSAPrivateKey]:
        """Create a service account `name@project`, a principal of its own, with its key.

        Raises InvalidOperationError if it exists.
        """
        email = f"{name}@{project}.iam.gserviceaccount.com".lower()
        user = self.add_user(email, name)
        key = derive_key(f"{self.options.seed}/{email}")
        key_id = hashlib.sha256(email.encode()).hexdigest()[:40]
        account = ServiceAccount(email, user.user_id, project, key_id, key.public_key())
        self.service_accounts.accounts[email] = account
        return account, key

    def _note_death(self, user: str, cause: str, tokens: int) -> None:
        number = self.ledger.next_n
        fact = GrantFact(number, self.now_ns(), user, cause, tokens)
        self.ledger.add(fact, "grant", f"grant_{cause}")

    def add_user(self, email: str, name: str | None = None) -> User:
        """Create a user. Raises InvalidOperationError if it exists."""
        return self.state.add_user(email, name or email.partition("@")[0], self.now_ms)

    def set_group(self, email: str, members: Iterable[str], name: str | None = None) -> Group:
        """Create a group, or replace its members. Raises InvalidOperationError."""
        users = [self.state.user(member) for member in members]
        group = self.state.groups.get(email.lower())
        if group is None:
            group = self.state.add_group(email, name or email.partition("@")[0])
        now_ns = self.now_ns()
        changes = self.state.set_members(group, users, now_ns)
        fact = GroupFact(self.ledger.next_n, now_ns, group.email, tuple(group.members))
        self.ledger.add(fact, "group")
        self.record(changes)
        return group

    def tick(self) -> None:
        """Let time do its work: permissions end when they expire."""
        self.record(self.state.expire(self.now_ns()))

    def record(self, changes: Iterable[Change]) -> None:
        """Write changes into the ledger and poke the channels of their logs and files."""
        for change in changes:
            self.ledger.add(ChangeFact(self.ledger.next_n, change.at_ns, *_facts(change)), "change")
            self.activities.note(change)
            for log in change.logs:
                self.push.notify(log)
            if self.push.watched_files:
                self._notify_files(change)

    def _notify_files(self, change: Change) -> None:
        """Tell the channels of the file, and those of the folder it is or was in."""
        file, state = self.state.files.get(change.file_id), self.state

        def sees(email: str) -> bool:
            user = state.users.get(email)
            return file is not None and user is not None and state.access.rank(user, file) > 0

        self.push.notify_file(change.file_id, *told(change), sees)
        detail = change.detail or {}
        parents = {*detail.get("added_parents", ()), *detail.get("removed_parents", ())}
        if change.kind in {"create", "trash", "untrash"} and file is not None and file.parent:
            parents.add(file.parent.id)
        for parent in parents:
            self.push.notify_file(parent, "update", "children", lambda _: True)


def _facts(change: Change) -> tuple[int, str, int, str, str, tuple[str, ...]]:
    return (
        change.seq,
        change.file_id,
        change.version,
        change.kind,
        change.actor,
        change.logs,
    )


_CHANGED = {
    "content": ("content", "properties"),
    "rename": ("properties",),
    "metadata": ("properties",),
    "move": ("parents",),
    "permissions": ("permissions",),
}


def told(change: Change) -> tuple[str, str | None]:
    """Return what a channel of the file hears: resource state and, on updates, what changed."""
    state = {"create": "add", "delete": "remove", "trash": "trash", "untrash": "untrash"}.get(
        change.kind, "update"
    )
    if state != "update":
        return state, None
    parts = [part for kind in change.kind.split("+") for part in _CHANGED.get(kind, ())]
    return state, ",".join(dict.fromkeys(parts)) or None
