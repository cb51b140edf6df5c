"""A person at a browser, as far as consenting goes: follows links and submits Google's form."""

from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import urljoin

import aiohttp

MAX_STEPS = 12


class ConsentError(Exception):
    """The way through the consent pages ended elsewhere than hoped."""


class _Form(HTMLParser):
    """Collects the first form of a page: where it goes and what a click would send."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.method = "get"
        self.fields: list[tuple[str, str]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the form, its fields and its first way to agree."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action, self.method = values.get("action", ""), values.get("method", "get")
            self._open = True
        elif self._open and tag in ("input", "button") and values.get("name"):
            kind = values.get("type", "submit" if tag == "button" else "text")
            ticked = kind not in ("checkbox", "radio") or "checked" in values
            # A button that skips the form's own checks is the way out, not the way on.
            if ticked and "formnovalidate" not in values:
                self.fields.append((values["name"], values.get("value", "on")))

    def handle_endtag(self, tag: str) -> None:
        """Note the end of the form."""
        if tag == "form":
            self._open = False


async def consent(start_url: str, done_prefix: str, account: str) -> str:
    """Open a connect link, choose the account, agree, and return the text of the last page.

    `done_prefix` is where the way must end (the callback of auth). Raises ConsentError with
    the page's status where it ends elsewhere.
    """
    jar = aiohttp.CookieJar(unsafe=True)  # cookies for addresses without a name
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        method, url, data = "get", start_url, None
        for _ in range(MAX_STEPS):
            async with session.request(method, url, data=data, allow_redirects=False) as answer:
                text = await answer.text()
                if answer.status in (301, 302, 303, 307):
                    method, url, data = "get", urljoin(url, answer.headers["Location"]), None
                    continue
                if url.startswith(done_prefix):
                    if answer.status != HTTPStatus.OK:
                        raise ConsentError(f"auth answered {answer.status}: {text[:200]}")
                    return text
                if answer.status != HTTPStatus.OK:
                    raise ConsentError(f"{url.split('?')[0]} answered {answer.status}")
            method, url, data = _submit(url, text, account)
        raise ConsentError("the consent pages do not end")


def _submit(url: str, page: str, account: str) -> tuple[str, str, list[tuple[str, str]]]:
    form = _Form()
    form.feed(page)
    if form.action is None:
        raise ConsentError(f"{url.split('?', maxsplit=1)[0]} shows no form")
    fields = [(name, value) for name, value in form.fields if name != "account"]
    return form.method.lower(), urljoin(url, form.action or url), [*fields, ("account", account)]
