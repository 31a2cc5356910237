"""Contents of media that are in a bucket."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of contents in a bucket."""
    op.create_table(
        "media_contents",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_media_contents")),
    )
    op.create_index("ix_media_contents_sha256", "media_contents", ["sha256"], unique=False)
    op.create_index("ix_media_contents_state", "media_contents", ["state"], unique=False)
