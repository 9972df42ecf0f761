"""A module for each command of ``taskbridge-bench``."""
