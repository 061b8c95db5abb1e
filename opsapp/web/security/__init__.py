"""Flask-Security, set up with our datastore, forms and sessions.

==========  ===================================================
setup       settings, sessions, and checks around each request
links       pages that mail a link: registration, forgotten passwords
messages    the words of Flask-Security's pages
stale       forms of a page that is older than its session
browsers    browsers that an account knows
recovery    recovery codes
datastore   Flask-Security's writes, done by our services
forms       forms that count attempts; mail by the outbox
user_mixin  the methods that Flask-Security needs of an account
==========  ===================================================

Decisions: docs/decisions/web.md
"""
