"""The shared language of Drivewake.

What every service and every downstream team may rely on: where messages travel
(`subjects`), who may send them there (`permissions`), how they are wrapped
(`envelope`), what they say (`signals`, `raw`, `connections`, `events`, `rpc`),
what is kept in key-value buckets (`records`), and how facts are named (`keys`).
Depends on msgspec alone.
"""
