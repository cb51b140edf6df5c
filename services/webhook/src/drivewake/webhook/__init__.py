"""webhook: receives Drive's push notifications and keeps the channels that cause them.

A push is only a poke: once its token, channel and resource are verified it becomes a
signal «look at this log», and Google gets its 200 when JetStream holds that signal. Beside
that, the keeper opens a channel for every active connection's log, replaces it before it
ends and stops the old one. Without this service everything is slower and still correct.
"""
