"""What was told to whom of problems, and to whom it is hard to tell anything."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "notices",
        sa.Column("notifier", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("axis", sa.String(16), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("recovered_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "notifier_failures",
        sa.Column("notifier", sa.String(255), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("try_again_at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("notifier_failures")
    op.drop_table("notices")
