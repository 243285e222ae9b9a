"""The words and the wire of tillwatch.

Pure: bytes in, values out. Agents and collectors share nothing but this package. `vocabulary` has the words and
limits, `codec` turns payloads into values and back, `topics` is the one table of topics; the other modules are the
messages.
"""
