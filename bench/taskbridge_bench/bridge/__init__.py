"""The bridge lane: one task for all libraries, through TaskBridge."""
