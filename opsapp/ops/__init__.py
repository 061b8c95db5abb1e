"""Attached: opsapp on an application that was written without it.

=============  ==========================================================
identity       the accounts of an application: its model, its columns, its functions
discovery      an identity from the code of the application
attributes     columns of a model, as an application names them
roles          roles by a relation, a flag or a word
passwords      the application's own function that sets a password
"""
