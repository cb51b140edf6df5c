"""Months that are over for good, kept as files: written, proved, read back beside the store.

records    what a file holds: one event a line; and the manifest of a month
files      the port to where files are kept
writing    archive → verify → detach → drop, each step safe to repeat
reading    archived and live events as one log
"""
