"""The demo: the whole suite on one machine, fed with a git history, checking itself."""
