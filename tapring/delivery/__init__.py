"""A session on its way into a sink, and the report at its end."""
