"""Everything that auth keeps, in Postgres."""

from drivewake.auth.audit_store import AuditStore
from drivewake.auth.connection_store import ConnectionStore, TenantStore
from drivewake.auth.database import Database
from drivewake.auth.event_store import SecretStore, SecurityEventStore
from drivewake.auth.outbox_store import OutboxStore
from drivewake.auth.service_account_store import ServiceAccountStore
from drivewake.auth.signin_store import SignInStore


class Store(
    TenantStore,
    ConnectionStore,
    SignInStore,
    OutboxStore,
    AuditStore,
    SecurityEventStore,
    SecretStore,
    ServiceAccountStore,
):
    """Implements every port of the store on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
