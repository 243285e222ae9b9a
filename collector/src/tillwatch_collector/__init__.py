"""The tillwatch collector: turns heartbeats and events into state, tickets and proof.

`flows` are the way through it, over the decisions in `domain` and the facts and judgements in `store`; around them
stand the shells: `mqtt` and `broker`, `api`, `console` and `cli`, and `app`, where threads live and nowhere else.
"""
