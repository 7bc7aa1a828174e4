"""Ready-made engines: a Unix pipeline, and a recording that is played again."""
