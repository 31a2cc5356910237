"""Whose files, upload grants and jobs are; what was there belongs to the tenant `default`."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the owner, and list by it."""
    for table in ("files", "upload_grants", "jobs"):
        tenant = sa.Column(
            "tenant", sa.String(length=255), nullable=False, server_default="default"
        )
        op.add_column(table, tenant)
    op.drop_index("ix_files_created_at", table_name="files")
    op.drop_index("ix_jobs_created_at", table_name="jobs")
    op.create_index("ix_files_tenant", "files", ["tenant", "created_at", "id"], unique=False)
    op.create_index("ix_jobs_tenant", "jobs", ["tenant", "kind", "created_at", "id"], unique=False)
