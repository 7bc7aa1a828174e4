"""Pure functions on events: kinds of stages, selecting, redacting. No shared memory, no files."""
