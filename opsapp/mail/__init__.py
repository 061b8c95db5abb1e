"""Mail: the outbox, the notices, and the backends that send."""
