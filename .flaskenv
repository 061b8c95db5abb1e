# `flask` finds the app with nothing typed. No secrets here: they go into .env, which git ignores.
FLASK_APP=opsapp
