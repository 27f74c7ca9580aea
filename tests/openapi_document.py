"""The API's description, from the table of routes alone: the source of the editor's types."""

import json

from latentloom.web.app import route_table
from latentloom.web.openapi import document


def text() -> str:
    made = document(route_table())
    made["info"]["version"] = ""  # the types must not change with every release
    return json.dumps(made)


if __name__ == "__main__":
    print(text())
