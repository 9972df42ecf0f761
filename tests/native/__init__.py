"""An app whose tasks are given to the queue libraries themselves."""
