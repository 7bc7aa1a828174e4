"""Ready-made engines: a Unix pipeline, a recording played again."""
