"""The JSON API: what scripts, the console and other systems read and write over HTTP.

`gate` lets in who may come, `problems` says what went wrong; `inventory`, `tickets`, `fleet` and `operations` are the
routes, which `web` joins with the console's. All SQL is in `store`.
"""
