"""How an older schema becomes this one: Alembic's revisions, run by `store.session`."""
