"""A revision is never edited once it was released: add another."""
