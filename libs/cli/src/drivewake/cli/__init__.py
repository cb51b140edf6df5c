"""The `drivewake` operator command: how it goes, what happens, and the first set-up.

Areas add verbs by the entry point group `drivewake.cli`: the name is the verb, the value a
click command. A verb that cannot be loaded says so when it is called, and breaks no other.
"""
