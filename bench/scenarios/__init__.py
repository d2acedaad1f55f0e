"""The scenarios: each measures both servers in alternation and writes into the run's ledger."""
