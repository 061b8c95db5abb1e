"""Flask-Security, set up with our forms and our datastore."""
