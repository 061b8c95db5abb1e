"""The words of Flask-Security's flashes, form errors and subjects, in the voice of our pages."""

from __future__ import annotations

MESSAGES = {
    "GENERIC_AUTHN_FAILED": ("Incorrect name, password or code.", "error"),
    # Opening the start page is not an error.
    "USER_DOES_NOT_EXIST": ("Incorrect name, password or code.", "error"),
    "DISABLED_ACCOUNT": ("This account is not active.", "error"),
    "CONFIRMATION_REQUIRED": ("Open the link in your mail first.", "error"),
    "UNAUTHORIZED": ("This account may not do that.", "error"),
    "LOGIN": ("Please sign in first.", "info"),
    "REFRESH": ("Please enter your password once more.", "info"),
    "INVALID_REDIRECT": ("This link leads to another site.", "error"),
    "API_ERROR": ("This is not text.", "error"),
    "INVALID_INPUT": ("Invalid value.", "error"),
    "INVALID_INPUT_LENGTH": ("This is longer than %(length)s characters.", "error"),
    "UNAUTHENTICATED": ("Please sign in first.", "info"),
    "REAUTHENTICATION_REQUIRED": ("Please enter your password once more.", "info"),
    "REAUTHENTICATION_SUCCESSFUL": ("Thank you. You can continue.", "success"),
    "ANONYMOUS_USER_REQUIRED": ("You are already signed in.", "info"),
    "CONFIRM_REGISTRATION": (
        "We have sent a mail to %(email)s. Its link lets you choose a password.",
        "success",
    ),
    "FORGOT_PASSWORD": ("I forgot my password", "info"),
    "GENERIC_RECOVERY": ("If this address has an account, a mail is on its way.", "info"),
    "PASSWORD_RESET_REQUEST": (
        "If %(email)s has an account, a link to set a new password is on its way.",
        "info",
    ),
    "PASSWORD_RESET_EXPIRED": ("The link is older than %(within)s. Request a new one.", "error"),
    "INVALID_RESET_PASSWORD_TOKEN": (
        "This link is invalid or has expired. Request a new one.",
        "error",
    ),
    "PASSWORD_RESET_NO_LOGIN": ("The password is set. Sign in with it.", "success"),
    "PASSWORD_CHANGE": ("The password is changed.", "success"),
    "PASSWORD_IS_THE_SAME": ("This is already your password.", "error"),
    "PASSWORD_INVALID_LENGTH": ("A password must have at least %(length)s characters.", "error"),
    "PASSWORD_TOO_SIMPLE": ("This password is too easy to guess.", "error"),
    "PASSWORD_BREACHED": ("This password is in a list of stolen passwords.", "error"),
    "PASSWORD_BREACHED_SITE_ERROR": ("The list of stolen passwords cannot be read.", "error"),
    "PASSWORD_NOT_PROVIDED": ("Enter the password.", "error"),
    "INVALID_PASSWORD": ("Incorrect password.", "error"),
    "INVALID_PASSWORD_CODE": ("Incorrect password or code.", "error"),
    "PASSWORD_MISMATCH": ("The two passwords differ.", "error"),
    "RETYPE_PASSWORD_MISMATCH": ("The two passwords differ.", "error"),
    "EMAIL_NOT_PROVIDED": ("Enter the address.", "error"),
    "INVALID_EMAIL_ADDRESS": ("This is not an e-mail address.", "error"),
    "INVALID_CODE": ("Incorrect code.", "error"),
    "TWO_FACTOR_INVALID_TOKEN": ("Incorrect code.", "error"),
    "NO_RECOVERY_CODES_SETUP": ("There are no recovery codes.", "info"),
    "INVALID_RECOVERY_CODE": ("This recovery code is incorrect or was already used.", "error"),
    "TWO_FACTOR_METHOD_NOT_AVAILABLE": ("Choose one of these ways.", "error"),
    "TWO_FACTOR_LOGIN_SUCCESSFUL": ("You are signed in.", "success"),
    "TWO_FACTOR_CHANGE_METHOD_SUCCESSFUL": ("Your authenticator app is paired.", "success"),
    "TWO_FACTOR_DISABLED": ("The second factor is off.", "success"),
    "TWO_FACTOR_PERMISSION_DENIED": ("Please sign in first.", "info"),
    "TWO_FACTOR_SETUP_EXPIRED": ("Pairing took longer than %(within)s. Start again.", "error"),
}
"""Each with its category; those of features that are off have none."""

ENTER_CODE = "Enter the code."

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
