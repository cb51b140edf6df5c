"""Which fields of a drive.v3 `File` are canonical: the same, whoever looks.

Only canonical fields decide whether a file changed. A field that depends on the viewer (or
lives for minutes) would make two connections of one tenant disagree for ever, and every
look would be a change. Source of names and meanings: the discovery document of drive.v3,
revision 20261106; a test holds this list against it, so that a new field of Google's is
classified on purpose.

Absence means:
- of a field in `CONTENT_FIELDS` or `WHEN_PRESENT`: unknown to this viewer, never empty;
- of any other canonical field: not set.

Every source must therefore ask Google for the same canonical fields, with one mask.
"""

from typing import Final

IDENTITY: Final = frozenset({"id", "version"})
"""Which file, and Google's version of it: rises with every change, even unseen ones."""

CONTENT_FIELDS: Final = frozenset(
    {"md5Checksum", "sha1Checksum", "sha256Checksum", "size", "headRevisionId"}
)
"""What identifies content, together with `mimeType`. Absent: this viewer may not know."""

WHEN_PRESENT: Final = frozenset({"parents", "permissions"})
"""Told only to viewers who may read the folder, or may share the file."""

PLACE: Final = frozenset({"name", "mimeType", "trashed", "driveId", "createdTime", "modifiedTime"})
"""Canonical fields that events name by themselves."""

METADATA: Final = frozenset(
    {
        "clientEncryptionDetails",
        "contentRestrictions",
        "copyRequiresWriterPermission",
        "description",
        "downloadRestrictions",
        "hasAugmentedPermissions",
        "inheritedPermissionsDisabled",
        "lastModifyingUser",
        "linkShareMetadata",
        "originalFilename",
        "owners",
        "properties",
        "shared",
        "shortcutDetails",
        "writersCanShare",
    }
)
"""The other canonical fields: `file.metadata_changed` tells them under Google's names."""

PEOPLE: Final = frozenset({"lastModifyingUser", "owners"})
"""Metadata made of `User` resources. Two are the same person if their `permissionId` is."""

USER_FIELDS: Final = frozenset({"displayName", "emailAddress", "permissionId"})
"""What is kept of a `User`; `me` depends on the viewer, `photoLink` lives for minutes."""

VIEWER_RELATIVE: Final = frozenset(
    {
        "appProperties",
        "capabilities",
        "folderColorRgb",
        "isAppAuthorized",
        "labelInfo",
        "modifiedByMe",
        "modifiedByMeTime",
        "ownedByMe",
        "sharedWithMeTime",
        "sharingUser",
        "starred",
        "viewedByMe",
        "viewedByMeTime",
    }
)
"""Differ by viewer, or by the application that asks. Never considered."""

SHORT_LIVED: Final = frozenset({"hasThumbnail", "thumbnailLink", "thumbnailVersion"})
"""Change although nobody changed the file. Never considered."""

DERIVED: Final = frozenset(
    {
        "contentHints",
        "explicitlyTrashed",
        "exportLinks",
        "fileExtension",
        "fullFileExtension",
        "iconLink",
        "imageMediaMetadata",
        "kind",
        "permissionIds",
        "quotaBytesUsed",
        "resourceKey",
        "spaces",
        "teamDriveId",
        "trashedTime",
        "trashingUser",
        "videoMediaMetadata",
        "viewersCanCopyContent",
        "webContentLink",
        "webViewLink",
    }
)
"""Follow from other fields, or say how to reach the file. Never considered by themselves."""

CANONICAL: Final = IDENTITY | CONTENT_FIELDS | WHEN_PRESENT | PLACE | METADATA
CLASSIFIED: Final = CANONICAL | VIEWER_RELATIVE | SHORT_LIVED | DERIVED

PERMISSION_FIELDS: Final = frozenset(
    {
        "allowFileDiscovery",
        "domain",
        "emailAddress",
        "expirationTime",
        "id",
        "permissionDetails",
        "role",
        "type",
    }
)
"""What is considered of a `Permission`; of its details only whether all are inherited."""
