"""Text that stays on one line."""


def one_line(text: str) -> str:
    r"""Return text with every character that cannot be printed escaped: a newline becomes the two characters `\n`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
