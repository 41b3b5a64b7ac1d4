"""How packs age: calendar and cycle wear, remaining life, the cost of a kWh."""
