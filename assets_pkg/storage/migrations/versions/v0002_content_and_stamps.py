"""Finding files by content, sparing the hash of untouched files, deliberate forgetting, days to be run again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Add columns and indexes."""
    op.add_column("file_ledger", sa.Column("stamp", sa.String(128), nullable=False, server_default=""))
    op.add_column("file_ledger", sa.Column("forget_requested_at", sa.DateTime(timezone=True)))
    op.create_index("file_ledger_content", "file_ledger", ["feed", "content_sha256"])
    op.create_index("file_ledger_status", "file_ledger", ["status"])
    op.create_table(
        "pending_day",
        sa.Column("ingest_date", sa.Date, primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("pending_day")
    op.drop_index("file_ledger_status", "file_ledger")
    op.drop_index("file_ledger_content", "file_ledger")
    with op.batch_alter_table("file_ledger") as table:
        table.drop_column("forget_requested_at")
        table.drop_column("stamp")
