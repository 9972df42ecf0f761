"""A module for each scenario, or for those that are measured together."""
