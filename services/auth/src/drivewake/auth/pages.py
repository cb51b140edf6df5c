"""The few pages that a person sees on the way: what happened, and what to do now."""

import base64
import hashlib
from html import escape
from http import HTTPStatus
from typing import Final

import msgspec
from litestar import MediaType, Response

_STYLE: Final = (
    "body{font:1.05rem/1.5 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1.5rem;"
    "color:#1c1c1e;background:#fff}h1{font-size:1.5rem}code{background:#f0f0f2;padding:.1em .3em;"
    "overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#eee;background:#17171a}"
    "code{background:#2a2a2e}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing is loaded, framed, cached or told onward; the code in the address least of all."""


class Page(msgspec.Struct, frozen=True):
    """What a page says, and the status that it comes with."""

    status: HTTPStatus
    title: str
    text: str


PAGES: Final = {
    "connected": Page(
        HTTPStatus.OK,
        "Google Drive is connected",
        "You can close this window. Whoever sent you the link sees the connection now.",
    ),
    "cancelled": Page(
        HTTPStatus.OK,
        "Nothing was connected",
        "You said no at Google, so nothing was changed. To connect after all, open the link that"
        " you were given once more.",
    ),
    "again": Page(
        HTTPStatus.BAD_REQUEST,
        "This sign-in cannot be finished",
        "It took too long, was finished already, or was begun in another browser. Open the link"
        " that you were given once more, or ask for a new one: a link lasts 15 minutes and"
        " connects one account.",
    ),
    "spent": Page(
        HTTPStatus.BAD_REQUEST,
        "This link was used already",
        "It has connected an account. To connect another one, ask for a new link.",
    ),
    "blocked": Page(
        HTTPStatus.FORBIDDEN,
        "Your organisation does not allow this application",
        "An administrator of your Google Workspace has to allow it (Security, API controls, App"
        " access control). Then open the link once more.",
    ),
    "scopes": Page(
        HTTPStatus.BAD_REQUEST,
        "Some permissions were left out",
        "Drive's history cannot be read without all of them, so nothing was connected and the"
        " permissions that you gave were handed back. Open the link once more and leave all boxes"
        " ticked. Left out:",
    ),
    "other_account": Page(
        HTTPStatus.BAD_REQUEST,
        "This is another account",
        "The link renews the connection of one certain Google account, and you chose a different"
        " one. Open the link once more and choose the account that was connected before.",
    ),
    "not_offline": Page(
        HTTPStatus.BAD_REQUEST,
        "Google did not give lasting access",
        "Remove this application under myaccount.google.com, Security, Third-party connections."
        " Then open the link once more.",
    ),
    "ending": Page(
        HTTPStatus.CONFLICT,
        "This connection is being ended",
        "Somebody has just asked to disconnect this account. Wait a minute, then ask for a new"
        " link.",
    ),
    "unavailable": Page(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Google did not answer",
        "Nothing was connected. Try the link again in a few minutes.",
    ),
    "down": Page(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Something is out of order on our side",
        "Nothing was connected. Try the link again in a few minutes.",
    ),
    "misconfigured": Page(
        HTTPStatus.BAD_GATEWAY,
        "This application is not set up properly at Google",
        "Tell whoever sent you the link. Google's word for it:",
    ),
    "refused": Page(
        HTTPStatus.BAD_REQUEST,
        "Google refused",
        "Nothing was connected. Tell whoever sent you the link. Google's word for it:",
    ),
}


def page(name: str, detail: str = "") -> Response[str]:
    """Return a page; `detail` is shown as it is, safely, at the end of the text."""
    found = PAGES[name]
    more = f" <code>{escape(detail[:500])}</code>" if detail else ""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(found.title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(found.title)}</h1><p>{escape(found.text)}{more}</p></main>"
        "</body></html>"
    )
    return Response(
        html, status_code=found.status.value, media_type=MediaType.HTML, headers=HEADERS
    )
