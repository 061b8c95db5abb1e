"""The words of Flask-Security's flashes, form errors and subjects, in the voice of our pages."""

from __future__ import annotations

MESSAGES = {
    "GENERIC_AUTHN_FAILED": ("The name, the password or the code is not right.", "error"),
    # Opening the start page is not an error.
    "UNAUTHENTICATED": ("Please sign in first.", "info"),
    "REAUTHENTICATION_REQUIRED": ("Please enter your password once more.", "info"),
    "REAUTHENTICATION_SUCCESSFUL": ("Thank you. You can go on.", "success"),
    "ANONYMOUS_USER_REQUIRED": ("You are signed in already.", "info"),
    "CONFIRM_REGISTRATION": (
        "We have sent a mail to %(email)s. Its link lets you choose a password.",
        "success",
    ),
    "PASSWORD_RESET_REQUEST": (
        "If %(email)s has an account, a link to set a new password is on its way.",
        "info",
    ),
    "PASSWORD_RESET_EXPIRED": ("The link is older than %(within)s. Request a new one.", "error"),
    "INVALID_RESET_PASSWORD_TOKEN": (
        "This link does not work, or not any more. Request a new one.",
        "error",
    ),
    "PASSWORD_RESET_NO_LOGIN": ("The password is set. Sign in with it.", "success"),
    "PASSWORD_CHANGE": ("The password is changed.", "success"),
    "PASSWORD_IS_THE_SAME": ("This is the password that you have.", "error"),
    "PASSWORD_INVALID_LENGTH": ("A password has at least %(length)s characters.", "error"),
    "PASSWORD_TOO_SIMPLE": ("This password is too easy to guess.", "error"),
    "PASSWORD_NOT_PROVIDED": ("Enter the password.", "error"),
    "INVALID_PASSWORD": ("This is not the password.", "error"),
    "RETYPE_PASSWORD_MISMATCH": ("The two passwords differ.", "error"),
    "EMAIL_NOT_PROVIDED": ("Enter the address.", "error"),
    "INVALID_EMAIL_ADDRESS": ("This is not an e-mail address.", "error"),
    "INVALID_CODE": ("This code is not right.", "error"),
    "TWO_FACTOR_INVALID_TOKEN": ("This code is not right.", "error"),
    "INVALID_RECOVERY_CODE": ("This recovery code is not right, or was used.", "error"),
    "TWO_FACTOR_LOGIN_SUCCESSFUL": ("You are signed in.", "success"),
    "TWO_FACTOR_CHANGE_METHOD_SUCCESSFUL": ("Your authenticator app is paired.", "success"),
    "TWO_FACTOR_DISABLED": ("The second factor is off.", "success"),
    "TWO_FACTOR_PERMISSION_DENIED": ("Please sign in first.", "info"),
    "TWO_FACTOR_SETUP_EXPIRED": ("Pairing took longer than %(within)s. Start again.", "error"),
}
"""Each with its category."""

SUBJECTS = {
    "PASSWORD_NOTICE": "Your password was set",
    "PASSWORD_CHANGE_NOTICE": "Your password was changed",
}


def settings(app_name: str) -> dict[str, object]:
    """Return the messages and subjects as Flask-Security's settings."""
    messages = {f"SECURITY_MSG_{name}": message for name, message in MESSAGES.items()}
    subjects = {
        f"SECURITY_EMAIL_SUBJECT_{name}": f"{app_name}: {subject}"
        for name, subject in SUBJECTS.items()
    }
    return {**messages, **subjects}
