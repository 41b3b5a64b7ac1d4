"""State of charge of every reported cell: counting, voltage, the BMS's own figure, and doubt."""
