"""PyMySQL in the place of mysqlclient, which has no Linux wheels."""

import pymysql


def install() -> None:
    """Have Django's MySQL backend use PyMySQL; call it before Django connects."""
    pymysql.install_as_MySQLdb()
