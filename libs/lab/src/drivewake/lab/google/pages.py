"""The pages on the way to consent: choose an account, tick scopes, continue or cancel."""

from html import escape

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;background:#f0f4f9;display:grid;place-items:center;
min-height:100vh;margin:0}main{background:#fff;border-radius:24px;padding:40px;max-width:460px;
width:90%;box-sizing:border-box}h1{font-weight:400;font-size:26px;margin:0 0 8px}fieldset{border:0;
padding:0;margin:20px 0}legend{font-weight:600;padding:0 0 6px}label{display:block;padding:8px;
border-bottom:1px solid #e3e3e3;overflow-wrap:anywhere}button{font:inherit;padding:8px 24px;
border-radius:20px;border:1px solid #747775;background:#fff;margin-left:8px;cursor:pointer}
button.go{background:#0b57d0;color:#fff;border-color:#0b57d0}footer{text-align:right}
small{color:#5f6368}
"""


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        '</title><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def consent_page(
    app: str, accounts: list[tuple[str, str]], chosen: str | None, scopes: list[str], query: str
) -> str:
    """Return the form. `query` is the authorization request, carried through unchanged."""
    radios = "".join(
        f'<label><input type="radio" name="account" value="{escape(email)}"'
        f"{' checked' if email == (chosen or accounts[0][0]) else ''} required> "
        f"{escape(name)} <small>{escape(email)}</small></label>"
        for email, name in accounts
    )
    boxes = "".join(
        f'<label><input type="checkbox" name="granted" value="{escape(scope)}" checked> '
        f"{escape(scope)}</label>"
        for scope in scopes
    )
    return _page(
        "Sign in - simulated Google",
        f"<h1>Sign in</h1><small>{escape(app)} wants access to your account on this simulated "
        'Google</small><form method="post" action="/o/oauth2/v2/auth/decision">'
        f'<input type="hidden" name="request" value="{escape(query)}">'
        f"<fieldset><legend>Choose an account</legend>{radios}</fieldset>"
        f"<fieldset><legend>What it may do</legend>{boxes}</fieldset>"
        '<footer><button name="decision" value="cancel" formnovalidate>Cancel</button>'
        '<button class="go" name="decision" value="allow">Continue</button></footer></form>',
    )


def error_page(error: str, description: str) -> str:
    """Return Google's dead end: the request is not sent back to an address we cannot trust."""
    return _page(
        "Error - simulated Google",
        f"<h1>Access blocked: authorisation error</h1><p>{escape(description)}</p>"
        f"<p><small>Error 400: {escape(error)}</small></p>",
    )
