"""Run by Alembic: brings the ledger's tables to a revision, on the connection that `storage.ledger` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # A table name of its own: Dagster may keep its runs in the same PostgreSQL database, with Alembic too.
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
