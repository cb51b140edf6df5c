"""The service that owns connections and tokens.

It leads people through Google's consent, keeps their refresh tokens encrypted, tells every
other service the state of each connection on DRIVE_CONNECTION, and hands out access tokens
by request/reply, sealed to whoever asks. Nobody else ever holds a refresh token.
"""
