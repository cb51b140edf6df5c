"""The console's pages: plain HTML, nothing loaded from anywhere, no script. Pure."""

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Final

from drivewake.auth.console import Session
from drivewake.auth.desk import ConnectionView
from drivewake.auth.records import Tenant

STYLE: Final = (
    ":root{color-scheme:light dark;--line:#d5d5da;--soft:#66666e;--good:#17713a;--warn:#8a5a00;"
    "--bad:#b3261e;--act:#1a56b0}@media(prefers-color-scheme:dark){:root{--line:#3a3a40;"
    "--soft:#a0a0aa;--good:#5bd08a;--warn:#f0b64a;--bad:#ff8a80;--act:#8ab4f8}}"
    "body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1.5rem}"
    "header{display:flex;flex-wrap:wrap;gap:1rem;align-items:baseline;justify-content:space-between}"
    "h1{font-size:1.4rem;margin:.2em 0}table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "caption{text-align:left;color:var(--soft);padding:.3em 0}th,td{text-align:left;"
    "padding:.55em .7em;border-bottom:1px solid var(--line);vertical-align:top}"
    "th{font-weight:600;color:var(--soft)}td code{overflow-wrap:anywhere}form{display:inline}"
    "button,.button{font:inherit;padding:.35em .8em;border:1px solid var(--line);"
    "border-radius:.4em;background:none;color:var(--act);cursor:pointer;text-decoration:none;display:inline-block;"
    "margin:0 .3em .3em 0}button:hover,.button:hover{border-color:var(--act)}"
    ":focus-visible{outline:3px solid var(--act);outline-offset:2px}.danger{color:var(--bad)}"
    ".good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.soft{color:var(--soft)}"
    ".note{border:1px solid var(--line);border-radius:.5em;padding:1rem;margin:1rem 0}"
    "input,select{font:inherit;padding:.35em;border:1px solid var(--line);border-radius:.4em;"
    "background:none;color:inherit}input.link{width:100%;box-sizing:border-box}"
    "@media(max-width:44rem){thead{display:none}tr{display:block;padding:.6em 0;"
    "border-bottom:1px solid var(--line)}td{display:block;border:0;padding:.1em 0}}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    # Not `no-referrer`: browsers would then send no origin with forms, which is looked at.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
TONES: Final = {"active": "good", "degraded": "warn", "revoking": "warn", "revoked": "soft"}


def document(title: str, body: str, session: Session | None = None) -> str:
    """Return a whole page."""
    out = ""
    if session is not None:
        of = "all tenants" if session.tenant is None else session.tenant
        out = (
            f'<div><span class="soft">{escape(session.subject)}, {session.role} of {escape(of)}'
            f"</span> {_form('/console/logout', session, 'Sign out')}</div>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)} - Drivewake</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{out}</header><main>{body}</main></body></html>"
    )


def welcome(message: str = "") -> str:
    """Return the page of who is not in."""
    note = f'<p class="note" role="alert">{escape(message)}</p>' if message else ""
    return document(
        "Connections",
        f"{note}<p>Sign in to see which accounts are connected, to connect, renew and end them."
        '</p><p><a class="button" href="/console/login">Sign in</a></p>',
    )


def connections(
    session: Session,
    found: Sequence[ConnectionView],
    tenants: Sequence[Tenant],
    *,
    message: str = "",
    following: str | None = None,
) -> str:
    """Return the list of connections; actions stand in it for who may do them."""
    acts = session.caller.may("operator")
    note = f'<p class="note" role="status">{escape(message)}</p>' if message else ""
    rows = "".join(_row(session, view, acts=acts) for view in found)
    table = (
        f"<table><caption>On this page: {len(found)}</caption><thead><tr>"
        '<th scope="col">Account</th><th scope="col">State</th><th scope="col">Since</th>'
        '<th scope="col">Tenant</th><th scope="col">Connection</th>'
        f"{'<th scope=col>Actions</th>' if acts else ''}</tr></thead><tbody>{rows}</tbody></table>"
        if found
        else "<p>No account is connected yet.</p>"
    )
    more = (
        f'<p><a class="button" href="/console?after={escape(following)}">Next page</a></p>'
        if following
        else ""
    )
    return document(
        "Connections", note + (_connect(session, tenants) if acts else "") + table + more, session
    )


def _connect(session: Session, tenants: Sequence[Tenant]) -> str:
    options = "".join(
        f'<option value="{escape(tenant.id)}">{escape(tenant.name)}</option>' for tenant in tenants
    )
    return (
        f'<form method="post" action="/console/connect">{_proof(session)}'
        f'<label>Tenant <select name="tenant">{options}</select></label> '
        "<button>Connect an account</button></form>"
    )


def _row(session: Session, view: ConnectionView, *, acts: bool) -> str:
    who = view.account or ("service account" if view.principal_kind != "user" else "unknown")
    tone = TONES.get(view.status, "bad")
    reason = f'<br><span class="soft">{escape(view.reason)}</span>' if view.reason else ""
    cells = (
        f"<td>{escape(who)}</td>"
        f'<td><strong class="{tone}">{view.status.replace("_", " ")}</strong>{reason}</td>'
        f"<td>{_time(view.since)}</td><td>{escape(view.tenant)}</td>"
        f"<td><code>{escape(view.id)}</code></td>"
    )
    if not acts:
        return f"<tr>{cells}</tr>"
    path = f"/console/connections/{escape(view.id)}"
    actions = ""
    if view.status != "revoking" and view.principal_kind == "user":
        actions += _form(f"{path}/reauthorize", session, "Reauthorize", f"Reauthorize {who}")
    if view.status not in {"revoking", "revoked"}:
        actions += (
            f'<a class="button danger" href="{path}/revoke" aria-label="Revoke {escape(who)}">'
            "Revoke</a>"
        )
    return f"<tr>{cells}<td>{actions}</td></tr>"


def link(session: Session, url: str, what: str) -> str:
    """Return the page that hands out a link."""
    return document(
        what,
        "<p>Whoever opens this link within 15 minutes connects one Google account. Send it to the"
        " person, or open it yourself in a browser that is signed in as that account.</p>"
        f'<p><label>Link<br><input class="link" readonly value="{escape(url)}"></label></p>'
        f'<p><a class="button" href="{escape(url)}">Open it here</a>'
        '<a class="button" href="/console">Back</a></p>',
        session,
    )


def confirm(session: Session, view: ConnectionView) -> str:
    """Return the page that asks before a connection ends."""
    who = view.account or view.id
    return document(
        f"Revoke {who}?",
        "<p>Its push channels are stopped, Google is told that the grant ends, and its tokens are"
        " deleted. What was read of its Drive stays. The person can connect again later.</p>"
        f"{_form(f'/console/connections/{view.id}/revoke', session, 'Revoke it', danger=True)}"
        '<a class="button" href="/console">Keep it</a>',
        session,
    )


def _proof(session: Session) -> str:
    return f'<input type="hidden" name="form" value="{escape(session.form)}">'


def _form(
    action: str, session: Session, text: str, label: str = "", *, danger: bool = False
) -> str:
    spoken = f' aria-label="{escape(label)}"' if label else ""
    look = ' class="danger"' if danger else ""
    return (
        f'<form method="post" action="{escape(action)}">{_proof(session)}'
        f"<button{look}{spoken}>{escape(text)}</button></form>"
    )


def _time(at: dt.datetime) -> str:
    return f'<time datetime="{at.isoformat()}">{at.astimezone(dt.UTC):%Y-%m-%d %H:%M}</time>'
