"""A module of tasks that no test imports."""

raise LookupError("A dispatcher has imported a task.")
