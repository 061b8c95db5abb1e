"""The shop's tests, with the fixtures of opsapp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from opsapp.accounts import users


def test_order_takes_pieces_from_the_stock(
    ops_app: Flask, ops_cli: Callable[..., Any], ops_unit: Callable[..., Any]
) -> None:
    with ops_app.app_context():
        users.create("john@example.com", username="john", unit=ops_unit())
    assert ops_cli("shop", "stock", "tea", "20", "--cents", "450").exit_code == 0
    ordered = ops_cli("shop", "order", "john", "tea", "--quantity", "2", "--format", "json")
    assert ordered.json["cents"] == 900
    assert ops_cli("shop", "products", "--format", "json").json[0]["stock"] == 18


def test_order_of_an_unknown_product_is_refused(ops_cli: Callable[..., Any]) -> None:
    ops_cli("users", "create", "john@example.com", "--username", "john", "--no-password")
    result = ops_cli("shop", "order", "john", "coffee")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("Error: no product coffee")


def test_visitor_signs_in_before_an_order(ops_app: Flask) -> None:
    answer = ops_app.test_client().get("/orders")
    assert (answer.status_code, answer.location) == (302, "/login?next=/orders")
