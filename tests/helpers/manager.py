"""What the tests of test_manager share."""


class Oops(Exception):
    pass
