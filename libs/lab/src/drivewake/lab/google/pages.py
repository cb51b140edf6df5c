"""The pages on the way to consent: choose an account, tick scopes, continue or cancel."""

from html import escape

_STYLE = """
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;color:#1f1f1f;background:#f0f4f9;
display:grid;place-items:center;min-height:100vh;margin:0;padding:24px 12px}main{background:#fff;
border-radius:24px;padding:36px;max-width:520px;width:100%;overflow-wrap:anywhere}h1{font-size:26px;
font-weight:400;line-height:1.25;margin:0 0 8px}p{margin:8px 0}fieldset{border:0;padding:0;
margin:20px 0;min-width:0}legend{font-weight:600;padding:0 0 6px}label{display:flex;gap:12px;
align-items:center;padding:8px 4px;min-height:48px;border-bottom:1px solid #e3e3e3;cursor:pointer}
label:hover{background:#f6f9fe}label span{min-width:0}input{flex:none;width:18px;height:18px;
margin:0}small{display:block;color:#5f6368;line-height:1.35}footer{display:flex;flex-wrap:wrap;
gap:8px;justify-content:flex-end}button{font:inherit;min-height:44px;padding:8px 24px;
border-radius:22px;border:1px solid #747775;background:#fff;color:inherit;cursor:pointer}
button.go{background:#0b57d0;color:#fff;border-color:#0b57d0}
:focus-visible{outline:3px solid #1f1f1f;outline-offset:2px}
@media(max-width:480px){main{padding:24px 20px}}
"""
_AUTH = "https://www.googleapis.com/auth/"
_SCOPES = {
    "openid": "Know who you are on this simulated Google",
    f"{_AUTH}userinfo.email": "See your e-mail address",
    f"{_AUTH}userinfo.profile": "See your name",
    f"{_AUTH}drive": "See, edit, create and delete all of your Drive files",
    f"{_AUTH}drive.readonly": "See and download all of your Drive files",
    f"{_AUTH}drive.metadata": "See and manage the metadata of your Drive files",
    f"{_AUTH}drive.metadata.readonly": "See the metadata of your Drive files",
    f"{_AUTH}drive.file": "See and edit the Drive files that you open with this app",
    f"{_AUTH}drive.appdata": "See and manage its own data in your Drive",
    f"{_AUTH}drive.activity": "See and add to the activity of your Drive files",
    f"{_AUTH}drive.activity.readonly": "See the activity of your Drive files",
}


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        '</title><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def consent_page(
    app: str, accounts: list[tuple[str, str]], chosen: str | None, scopes: list[str], query: str
) -> str:
    """Return the form. `query` is the authorization request, carried through unchanged.

    Continue is the first button, so that the Enter key continues as people expect. The empty
    `granted` tells a form with no box ticked from one that leaves the choice out.
    """
    radios = "".join(
        f'<label><input type="radio" name="account" value="{escape(email)}"'
        f"{' checked' if email == (chosen or accounts[0][0]) else ''} required>"
        f"<span>{escape(name)} <small>{escape(email)}</small></span></label>"
        for email, name in accounts
    )
    boxes = "".join(
        f'<label><input type="checkbox" name="granted" value="{escape(scope)}" checked>'
        f"<span>{_meaning(scope)}</span></label>"
        for scope in scopes
    )
    return _page(
        "Sign in - simulated Google",
        f"<h1>Sign in</h1><p><b>{escape(app)}</b> wants access to your account on this simulated "
        'Google.</p><form method="post" action="/o/oauth2/v2/auth/decision">'
        f'<input type="hidden" name="request" value="{escape(query)}">'
        '<input type="hidden" name="granted" value="">'
        f"<fieldset><legend>Choose an account</legend>{radios}</fieldset>"
        f"<fieldset><legend>What it may do</legend>{boxes}</fieldset>"
        '<footer><button class="go" name="decision" value="allow">Continue</button>'
        '<button name="decision" value="cancel" formnovalidate>Cancel</button></footer></form>',
    )


def _meaning(scope: str) -> str:
    """Return what a scope allows in words, with its own name below; or the name alone."""
    words = _SCOPES.get(scope)
    return escape(scope) if words is None else f"{words} <small>{escape(scope)}</small>"


def error_page(error: str, description: str, code: int = 400) -> str:
    """Return Google's dead end: the request is not sent back to an address we cannot trust."""
    return _page(
        "Error - simulated Google",
        f"<h1>Access blocked: authorisation error</h1><p>{escape(description)}</p>"
        "<p>Nothing was granted. The app that sent you here has to mend its request.</p>"
        f"<p><small>Error {code}: {escape(error)}</small></p>",
    )
