"""All tables together: what migrations lead to."""

from milvane.storage import alert_tables, control_tables, media_tables, tables, usage_tables

METADATA = tables.METADATA

TABLE_MODULES = (tables, usage_tables, control_tables, alert_tables, media_tables)
"""Where tables are declared; importing this module declares them all."""
