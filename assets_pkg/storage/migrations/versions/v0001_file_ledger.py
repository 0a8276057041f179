"""The table of files."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "file_ledger",
        sa.Column("feed", sa.String(32), primary_key=True),
        sa.Column("ingest_date", sa.Date, primary_key=True),
        sa.Column("path", sa.String(1024), primary_key=True),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("record_count", sa.BigInteger),
        sa.Column("error_message", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("discovered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True)),
        sa.Column("run_id", sa.String(64)),
        sa.Column("duplicate_of", sa.String(1024)),
        sa.Column("absent_columns", sa.Text, nullable=False, server_default="[]"),
        sa.Column("unknown_columns", sa.Text, nullable=False, server_default="[]"),
        sa.Column("read_policy", sa.String(32), nullable=False, server_default=""),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("file_ledger")
