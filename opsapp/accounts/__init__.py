"""The verbs: every rule about a noun exists once, here.

A writing verb takes ``unit`` (who, why, which door) and enters it where it
needs the gate. Verbs return plain records, the same dictionaries that the API
and ``--format json`` show, and raise the conditions of :mod:`opsapp.errors`.
"""
