"""The statements that a test makes the database execute."""


def verbs_of(captured):
    """The verbs of what was asked of the database."""
    return [query["sql"].split()[0] for query in captured.captured_queries]


class Statements:
    """Counts statements where reset_queries() cannot forget them."""

    def __init__(self):
        self.verbs = []

    def __call__(self, execute, sql, params, many, context):
        if not sql.startswith("SET "):  # MySQL, as it connects
            self.verbs.append(sql.split()[0])
        return execute(sql, params, many, context)
