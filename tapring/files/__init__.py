"""File formats, written and read back side by side; outputs, rotation, compression, meta."""
