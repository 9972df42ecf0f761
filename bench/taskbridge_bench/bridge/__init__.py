"""The lanes bridge and durable: one task for all libraries, through TaskBridge."""
