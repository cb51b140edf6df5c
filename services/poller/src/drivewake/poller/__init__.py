"""The poller reads Google and publishes what it reads, verbatim, as raws.

Signals (pushes, timers, operators) say which log to look at; the poller claims the log's
record by compare-and-set, reads pages from the log's cursor, publishes them in atomic
batches, moves the cursor and schedules the next timer signal. A crash between any two
steps repeats work and changes nothing. It writes `DRIVE_RAW`, the bucket `logs` and its
own schedules; it reads connections, channels and signals; it keeps no other state.
"""
