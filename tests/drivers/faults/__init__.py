"""A wire that spoils genuine answers in every way, and who believes what comes out of it."""
