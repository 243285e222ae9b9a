"""What is kept: tables, the transactions around them, and all SQL.

`tables` is the shape, `session` the transactions, `repository` the facts and the judgements, `inventory` merchants,
stores, terminals and tokens, `queries` what the API and the console read.
"""
