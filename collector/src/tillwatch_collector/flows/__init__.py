"""What happens, in order: `ingest` (messages to facts), `judge` (facts to tickets), `dispatch` (effects to messages).

Flows are synchronous functions of (repository, input, now) that return their effects; they neither commit nor send.
Beside them: `fold` (a batch over the facts), `sitting` (one tick of judge), `tickets` (all that may be done with them)
over `steps` (the one way that they move) and `changes` (what became of them), `epochs` (a start, a restored database),
`restoring` (what is noted when a backup was put back).
"""
