"""What the network's probe asks in protocols of its own, one module each: values to bytes, bytes to values. Pure.

Every question is a few dozen bytes and changes nothing where it arrives. An answer is taken only when it answers the
question (`number`, and what else the protocol repeats): others may be on the same socket. What is no answer is None,
never an error, since anything may come from a network.

A change violates this when a byte of an answer is read before the length is known to hold it.
"""
