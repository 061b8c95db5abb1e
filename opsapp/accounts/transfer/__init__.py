"""Bulk transfer of accounts: `flask users import` and `flask users export`.

==========  ===============================================================
importing   an import: batches, each a unit of work, resumed where it ended
exporting   an export: one snapshot, in flat memory
codecs      formats and compressions by the name of a file
sources     files to import: bounded, decompressed, decoded
records     the rows of csv and jsonl, with our columns for theirs
fields      the values of a row, checked as `users create` checks them
hashes      ready hashes, checked
hashing     plain passwords, hashed on all cores
comparison  rows compared with the accounts that are there
batches     a batch written, and its audit event
streams     text into a file that appears whole, compressed by its name
rejects     rows that were not imported, to be corrected and imported again
==========  ===============================================================

docs/decisions/accounts.md#an-import-is-a-unit-for-each-batch
"""
