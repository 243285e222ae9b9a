"""The commands of `tillwatch-collector`: one module for each group; `root` joins them, `output` is how they answer.

Commands other than `serve` work on the database itself, beside a collector that runs: whoever may read its file is
its operator. Exit codes: 0 done; 1 asked for something that cannot be done, or some rows were refused; 2 the
installation or the command line must change.
"""
