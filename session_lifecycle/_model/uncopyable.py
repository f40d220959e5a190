"""Objects of which there must be one only: each drives, holds or is held by something that a copy would share."""

from typing import Never


class Uncopyable:
    """Refuses `copy.copy`, `copy.deepcopy` and pickling with a TypeError."""

    __slots__ = ()

    def __reduce__(self) -> Never:
        """Refuse to be copied or pickled: both would act on what the original runs or holds."""
        kind = type(self).__name__
        msg = f"{self!r} cannot be copied or pickled: a copy would share what it runs or holds. Make another {kind}"
        raise TypeError(msg)
