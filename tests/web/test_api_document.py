"""The OpenAPI document: complete, and such that generated clients read well."""

from __future__ import annotations

from typing import Any

from tests.support.web import Program, Site


def test_document_reads_like_a_library(api: Program) -> None:
    document = api("GET", "/api/openapi.json").json
    operations = [
        operation
        for item in document["paths"].values()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]
    # Generated clients let a call be made without a token where its operation names none.
    assert all(operation["security"] for operation in operations)
    assert {operation["operationId"] for operation in operations} == {
        *("list_users", "create_user", "get_user", "replace_user", "update_user", "delete_user"),
        *("list_user_grants", "list_user_roles", "grant_role", "revoke_role"),
        *("list_roles", "get_role", "get_me"),
    }
    assert document["servers"] == [{"url": "/"}]
    assert set(document["components"]["schemas"]) == {
        *("User", "UserPage", "NewUser", "UserChanges", "WholeUser", "Me", "Problem"),
        *("Role", "RolePage", "HeldRole", "HeldRolePage", "Grant", "GrantPage", "NewGrant"),
    }
    update = document["paths"]["/api/users/{id}"]["patch"]["responses"]
    assert {"412", "414", "415", "422", "428"} <= set(update)
    assert "422" not in document["paths"]["/api/me"]["get"]["responses"]


def test_document_describes_every_route_and_its_permission(web: Site) -> None:
    document = web.browser().get("/api/openapi.json").json
    assert document["openapi"] == "3.1.0"
    its_own = ("api-docs.openapi_json", "api_docs")
    ours = {
        (rule.rule, method)
        for rule in web.app.url_map.iter_rules()
        if rule.rule.startswith("/api/") and rule.endpoint not in its_own
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {
        (path.replace("{", "<").replace("}", ">"), method.upper())
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert {(rule.replace("int:", "").replace("string:", ""), m) for rule, m in ours} == described
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters" and path != "/api/me":
                ((permission,),) = {tuple(*scheme.values()) for scheme in operation["security"]}
                assert permission in ("users:read", "users:write", "roles:read", "roles:grant")


def test_document_holds_no_schema_that_nothing_uses(web: Site) -> None:
    document = web.browser().get("/api/openapi.json")
    for name in document.json["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in document.text


def test_document_has_a_page(web: Site) -> None:
    page = web.browser().get("/api/docs")
    assert page.status_code == 200
    assert "/api/users/{id}" in page.text


LISTS = {
    "list_users": "UserPage",
    "list_user_grants": "GrantPage",
    "list_user_roles": "HeldRolePage",
    "list_roles": "RolePage",
}
RECORDS = {"get_user": "User", "get_role": "Role", "get_me": "Me"}
CHANGES = {
    **dict.fromkeys(("create_user", "replace_user", "update_user"), "User"),
    **dict.fromkeys(("grant_role", "revoke_role"), "Grant"),
}


def test_each_operation_answers_with_one_type(api: Program) -> None:
    """A generated client has ``User | None`` as the type, and not ``Any``."""
    answers: dict[str, Any] = {}
    for item in api("GET", "/api/openapi.json").json["paths"].values():
        for operation in (each for each in item.values() if "operationId" in each):
            (good,) = [
                response
                for status, response in operation["responses"].items()
                if status.startswith("2")
            ]
            content = good.get("content", {"application/json": {"schema": None}})
            answers[operation["operationId"]] = content["application/json"]["schema"]
    name = "#/components/schemas/{}".format
    assert answers == {
        **{id: {"$ref": name(schema)} for id, schema in (LISTS | RECORDS).items()},
        **{
            id: {"anyOf": [{"$ref": name(schema)}, {"type": "null"}]}
            for id, schema in CHANGES.items()
        },
        "delete_user": None,
    }
