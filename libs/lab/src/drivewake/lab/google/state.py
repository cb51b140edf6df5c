"""What every Drive of the simulated world holds, and the operations that change it. Pure.

No clock, no randomness of its own, no I/O: times and identifiers are passed in. Every
operation returns the changes it made, each a version of one file with the logs that carry it.
"""

from drivewake.lab.google.remarks import Remarks
from drivewake.lab.google.revisions import Revisions
from drivewake.lab.google.shared_drives import SharedDrives
from drivewake.lab.google.sharing import Sharing
from drivewake.lab.google.tree import Tree


class DriveState(Tree, Sharing, SharedDrives, Remarks, Revisions):
    """Users, groups, drives, files and change logs of one Google: all chapters in one."""
