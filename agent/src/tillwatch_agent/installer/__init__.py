"""Fetching and installing releases: what runs only while a job does.

`fetch` is a program of its own, which the agent starts and hears; it alone loads TUF and all that TUF brings.
"""
