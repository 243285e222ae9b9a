"""The collector's decisions: pure functions that take `now` and return a value with its reason.

Of facts: `identity` (who is heard, and two under one name), `ranges` and `stream` (what of an outbox is accounted for),
`level` (heartbeats and presences in their order), `stencil` (heartbeats read by what they have in common), `epoch`. Of
judgement: `listening` (time in which silence means something), `watching` (opening hours), `presence`, `signs` (what
one look says of each condition), `condition`, `deadlines`, `policy`, `ticket`, `meeting` (which reports and faults are
one ticket). Of people: `inventory`, `attachment`.
"""
