"""Where data lies: raw files, the lake's Delta tables, the ledger of files, locks. No rule about rows stands here."""
