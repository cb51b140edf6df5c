"""The service that decides, deduplicates and appends.

It pulls raws and connection states, compares each with what was last known (its head), appends
what that tells to the event store in one transaction, and acknowledges afterwards. The relay
to DRIVE_EVENT and the projection of the current tree run in the same process for now.
"""
