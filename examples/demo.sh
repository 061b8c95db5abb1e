#!/bin/sh
# The first five minutes with opsapp, on SQLite. Safe to repeat.
set -eu
PATH="$bin:$PATH"

show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

show flask db init
show flask users create-admin ada@example.com --username ada --generate-password --if-exists keep
show flask roles create support --description "First line" --allow users:read --if-exists keep
show flask users create grace@example.com --no-password --if-exists keep
show flask roles grant support grace@example.com --until 2036-12-31 --reason "on call"
show flask users list
show flask audit verify
