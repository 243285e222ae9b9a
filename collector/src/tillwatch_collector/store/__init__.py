"""What is kept: tables, the transactions around them, and all SQL.

`tables` is the shape, `session` the transactions, `statements` how many rows go at once, `repository` the door that a
flow holds, with `facts`, `looks`, `judgements` and `tickets` behind it; `migrations` and `schema` bring an older schema
up. `inventory` has merchants, stores, terminals and tokens, `queries` what the API and the console read. `backup` takes
all rows out and puts them back, `archive` is the file they lie in.
"""
