"""The only package that knows Google: requests, transport, errors, tokens, quota.

`port.GoogleDrive` is the port, `client.DriveClient` the way over HTTP; `auth.TokenSource`
hands out access tokens; `errors` draws the tree of everything that can be answered.
"""

from drivewake.gdrive.auth import TokenSource
from drivewake.gdrive.client import DriveClient
from drivewake.gdrive.pages import ChangesPage, FileAnswer, FilesPage, Item, WatchAnswer
from drivewake.gdrive.port import ActivityQuery, GoogleDrive, Wanted
from drivewake.gdrive.quota import Budget, Governor
from drivewake.gdrive.token import AccessToken
from drivewake.gdrive.transport import Limits, Transport

__all__ = [
    "AccessToken",
    "ActivityQuery",
    "Budget",
    "ChangesPage",
    "DriveClient",
    "FileAnswer",
    "FilesPage",
    "GoogleDrive",
    "Governor",
    "Item",
    "Limits",
    "TokenSource",
    "Transport",
    "Wanted",
    "WatchAnswer",
]
