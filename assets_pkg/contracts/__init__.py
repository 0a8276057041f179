"""What the tables hold: feeds, row rules, tables, and the pandera schemas made from them. No data is read here."""
