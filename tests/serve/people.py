"""The people of these tests."""

PEOPLE = ("analyst1", "operator1", "outsider1")
TEAMS = """
teams:
  research: {read: [live, marts]}
  operations: {read: [live, marts, ops, quality]}
  outsiders: {read: [live]}
  readers: {read: [live, marts]}
services:
  bi_reader: {team: readers}      # as in access.yml: other tests read as it
people:
  analyst1: {team: research}
  operator1: {team: operations}
  outsider1: {team: outsiders}
"""


def access_file() -> str:
    """Their access.yml."""
    return TEAMS
