"""Pages for people and probes for hosts: they look, they never change or post anything."""
