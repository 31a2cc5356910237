"""What operators change while servers run: instances that they add, weights that they unload."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of added instances and of unloaded weights."""
    op.create_table(
        "added_instances",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("grpc_port", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("ca_certificate", sa.Text(), nullable=False),
        sa.Column("server_name", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["name"],
            ["instances.name"],
            name=op.f("fk_added_instances_name"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_added_instances")),
    )
    op.create_table(
        "unloaded_weights",
        sa.Column("weights", sa.String(length=128), nullable=False),
        sa.Column("unloaded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("weights", name=op.f("pk_unloaded_weights")),
    )
