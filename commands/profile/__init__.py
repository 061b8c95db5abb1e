"""`flask profile`.

- :mod:`.report`: the group, and the commands that read what was recorded
- :mod:`.measure`: the commands that measure now, and compare
"""
