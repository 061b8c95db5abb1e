"""Ops: the console on an application that has its own users and its own database.

============  ===============================================================
listeners     ``observe()``, and what an application's models and session call
observer      writes down what an application's own code changes of its accounts
changes       the events that the history of an account gives
bulk          those of a statement that changes accounts without loading them
acting        who changes them
keeping       what is refused, where an application asks for it
seal          chains what waits
============  ===============================================================
"""
