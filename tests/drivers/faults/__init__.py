"""A wire that lies: every kind of broken answer, and who believes it."""
