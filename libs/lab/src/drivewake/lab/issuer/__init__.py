"""A small OIDC issuer for demos and tests: anybody may be whoever the page offers.

It stands where an organisation's own issuer (Keycloak, Entra, Okta …) stands in life, and signs
as that would: discovery document, keys, code flow with PKCE for people, client credentials for
programs. Never put it before anything that is not on this machine.

    python -m drivewake.lab.issuer --port 9000      # DRIVEWAKE_DEV_ISSUER_SECRET in the environment
"""

from drivewake.lab.issuer.server import DevIssuer, Person, start_issuer

__all__ = ["DevIssuer", "Person", "start_issuer"]
