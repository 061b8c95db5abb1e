"""Small applications that know nothing of opsapp, a kind of user model each."""
