"""The unit of work: gate, change, invariants, audit event, commit."""
