"""`flask ops init`, `status` and `drop`: opsapp's tables in an application's database."""
