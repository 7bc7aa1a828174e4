"""What lies in /dev/shm: segments, names, session tables, doorbells, and removing leftovers."""
