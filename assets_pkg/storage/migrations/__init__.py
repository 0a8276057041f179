"""The history of the ledger's tables, one Alembic revision a file; `storage.ledger` applies them on opening."""
