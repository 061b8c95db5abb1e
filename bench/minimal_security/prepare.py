"""Make the minimal application's database, with one account: ``one@example.com``."""

from __future__ import annotations

from flask_security.utils import hash_password

from .app import create_app, db

app = create_app()
with app.app_context():
    db.create_all()
    app.extensions["security"].datastore.create_user(
        email="one@example.com", password=hash_password("correct horse battery staple")
    )
    db.session.commit()
