"""How long the weakest cells carry the critical load."""
