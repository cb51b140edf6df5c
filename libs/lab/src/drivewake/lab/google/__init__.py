"""A simulated Google that an unchanged Google client can talk to.

One ASGI application answers for OAuth 2, Drive v3 and push delivery, with Google's
coalescing change logs, quota costs and error envelopes. `drivewake-google-sim` runs it as a
process, `start_google` from a thread, `SimulatedGoogle` is the world itself. The control API
under `/_sim/` (control.py) makes things happen and tells exactly what happened.
"""

from drivewake.lab.google.process import GoogleProcess, start_google_process
from drivewake.lab.google.profiles import PROFILES, Profile
from drivewake.lab.google.seen import seen_by
from drivewake.lab.google.serve import RunningGoogle, start_google
from drivewake.lab.google.world import Options, SimulatedGoogle

__all__ = [
    "PROFILES",
    "GoogleProcess",
    "Options",
    "Profile",
    "RunningGoogle",
    "SimulatedGoogle",
    "seen_by",
    "start_google",
    "start_google_process",
]
