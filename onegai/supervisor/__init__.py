"""All services: one owner task each, the leases on them, and how a start is known to be done."""
