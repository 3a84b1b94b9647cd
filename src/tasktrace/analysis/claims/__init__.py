"""The ledger: every claim of both papers, checked against the tables of whatever has been run."""
