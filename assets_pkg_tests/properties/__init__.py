"""What must hold for every day, however messy: tested with random days."""
