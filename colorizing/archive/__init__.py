"""An archive's photos, colorized on as many machines as there are, with a ledger that accounts for every file."""
