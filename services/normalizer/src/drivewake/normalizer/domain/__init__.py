"""What is decided, and nothing else: pure functions over values, no clock, no I/O.

google        drive.v3 resources as far as they count, with their types
observation   what one raw says: a file as seen, a file gone
head          what was last known of a file, and how an event advances it (`evolve`)
decide        which events an observation makes of a head (`decide`, `settle`, `step`)
difference    what changed between two states of a file
audience      permissions and how widely a file is exposed
connections   which event a connection's new state is
logs          which event a fact of a whole log is
identity      the deterministic key of each event
"""
