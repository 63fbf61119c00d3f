"""Ranges that cross the tidemark: what both databases hold of one, each row once, whatever promotion does meanwhile.

rule.py is the rule, union.py the union of two ordered sides, sides.py how a side is read; ticks.py, events.py and
bars.py say what is read of each.
"""
