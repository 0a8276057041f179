"""One module or one section of the contract a file; small cases in tables."""
