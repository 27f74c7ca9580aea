"""Whose a picture in the input folder is: uploads lie in folders of their owners, all other files are for everybody."""

BY_HASH, BY_OWNER = "by-hash", "by-owner"
HIDDEN = "."  # begins the names of hidden folders, such as the trash


def uploads_of(owner: str | None) -> str:
    """Return the folder for the uploads of an owner, with "/" at its end; None: those of admins and of this machine."""
    return "" if owner is None else f"{BY_OWNER}/{owner}/"


def stored_name(owner: str | None, sha256: str, suffix: str) -> str:
    """Return the name of an owner's upload that is stored under its hash."""
    return f"{uploads_of(owner)}{BY_HASH}/{sha256[:2]}/{sha256}{suffix}"


def is_visible(name: str, owner: str | None) -> bool:
    """Whether an owner may use a file of the input folder; None may use all.

    `name` is the path below the folder with all symbolic links and dots resolved.
    """
    if owner is None:
        return True
    name = name.casefold()  # two spellings may be one file
    own = name.startswith(uploads_of(owner).casefold())
    return own or not (name.startswith(HIDDEN) or name.partition("/")[0] in (BY_OWNER, BY_HASH))
