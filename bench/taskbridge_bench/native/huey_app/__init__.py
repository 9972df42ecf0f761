"""An app of its own, so that only Huey's own worker discovers Huey's tasks."""
