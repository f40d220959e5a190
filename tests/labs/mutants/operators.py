"""Changes to one function, as operators on its syntax tree.

An operator names what it changes by the words that occur there (names, attributes and keywords), never by text: layout,
comments and the code around it may change. It must apply at exactly one place, or at the `nth` of several, counted from
the top of the function; anything else is a `DoesNotApply`. New code is given as source, in which `{}` is the old one.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class DoesNotApply(Exception):
    """The function has no such place, or more than one."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node, and where it hangs in the tree: in a field of its parent, or at an index of a list there."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None

    def put(self, *nodes: ast.AST) -> None:
        """Put other nodes here: one where there is one, any number in a list. A block is never empty."""
        if self.index is None:
            (new,) = nodes
            setattr(self.parent, self.field, new)
            return
        siblings: list[ast.AST] = getattr(self.parent, self.field)
        at = next(at for at, sibling in enumerate(siblings) if sibling is self.node)
        siblings[at : at + 1] = nodes
        if not siblings and isinstance(self.node, ast.stmt):
            siblings.append(ast.Pass())


Edit = Callable[[], None]
Finder = Callable[[Place], Edit | None]


@dataclass(frozen=True, slots=True)
class Operator:
    """One kind of change. `find` returns, for a place that it is about, what makes the change there."""

    text: str
    find: Finder
    nth: int | None = None

    def __str__(self) -> str:
        return self.text if self.nth is None else f"{self.text[:-1]}, nth={self.nth})"

    def apply(self, function: ast.AST) -> None:
        """Change the function.

        Raises:
            DoesNotApply: there is no such place, or not this one alone.
        """
        edits = [edit for place in places(function) if (edit := self.find(place)) is not None]
        if self.nth is None and len(edits) == 1:
            edits[0]()
        elif self.nth is not None and self.nth <= len(edits) > 1:
            edits[self.nth - 1]()
        else:
            msg = f"{self} finds {len(edits)} places"
            raise DoesNotApply(msg)


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def function_in(tree: ast.Module, name: str) -> Definition:
    """Return the function of that qualified name.

    Raises:
        DoesNotApply: there is none.
    """
    node: ast.Module | Definition = tree
    for part in name.split("."):
        inner = [each for each in _definitions(node) if each.name == part]
        if len(inner) != 1:
            msg = f"{len(inner)} functions or classes are called {part} of {name}"
            raise DoesNotApply(msg)
        (node,) = inner
    return node


def _definitions(node: ast.AST) -> Iterator[Definition]:
    """Yield every function and class below a node."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # there are none in expressions, of which there are most
            if isinstance(child, Definition):
                yield child
            yield from _definitions(child)


def places(root: ast.AST) -> Iterator[Place]:
    """Yield every place below a node, from the top down."""
    for field, value in ast.iter_fields(root):
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if isinstance(child, ast.AST):
                yield Place(child, root, field, index)
                yield from places(child)


def words(*nodes: ast.AST) -> set[str]:
    """Return the names, attributes and keywords that occur in nodes."""
    found: set[str] = set()
    for node in nodes:
        for each in ast.walk(node):
            match each:
                case ast.Name(id=word) | ast.Attribute(attr=word) | ast.keyword(arg=str(word)):
                    found.add(word)
                case _:
                    pass
    return found


def _is_about(node: ast.AST, about: str) -> bool:
    return words(node) >= set(about.split())


def _last(node: ast.AST) -> str | None:
    """Return the last part of a dotted name."""
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word):
            return word
        case _:
            return None


def _expression(code: str, old: ast.expr) -> ast.expr:
    return ast.parse(code.replace("{}", f"({ast.unparse(old)})"), mode="eval").body


def _called(node: ast.AST) -> str | None:
    return _last(node.func) if isinstance(node, ast.Call) else None


# ---- statements ----


def drop_call(name: str, nth: int | None = None) -> Operator:
    """Leave out a statement that only calls, or awaits, `name`."""

    def find(place: Place) -> Edit | None:
        if not isinstance(place.node, ast.Expr):
            return None
        value = place.node.value
        return place.put if _called(value.value if isinstance(value, ast.Await) else value) == name else None

    return Operator(f"drop_call({name!r})", find, nth)


def drop_assignment(target: str, nth: int | None = None) -> Operator:
    """Leave out the assignment to a target; what the same statement assigns to others stays."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case ast.Assign(targets=targets) as node if target in map(_last, targets):
                others = [each for each in targets if _last(each) != target]

                def keep_others() -> None:
                    node.targets = others

                return keep_others if others else place.put
            case ast.AugAssign(target=only) | ast.AnnAssign(target=only) if _last(only) == target:
                return place.put
            case _:
                return None

    return Operator(f"drop_assignment({target!r})", find, nth)


def drop_raise(error: str, nth: int | None = None) -> Operator:
    """Leave out the raising of an error."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case ast.Raise(exc=ast.Call() as raised) if _called(raised) == error:
                return place.put
            case _:
                return None

    return Operator(f"drop_raise({error!r})", find, nth)


def drop_if(about: str, nth: int | None = None) -> Operator:
    """Leave out an `if` whose condition is about these words, with all of its branches."""

    def find(place: Place) -> Edit | None:
        return place.put if isinstance(place.node, ast.If) and _is_about(place.node.test, about) else None

    return Operator(f"drop_if({about!r})", find, nth)


def insert_in_if(about: str, code: str, nth: int | None = None) -> Operator:
    """Begin the branch of an `if` whose condition is about these words with other code."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case ast.If(test=test, body=body) if _is_about(test, about):
                return lambda: body.__setitem__(slice(0, 0), ast.parse(code).body)
            case _:
                return None

    return Operator(f"insert_in_if({about!r}, {code!r})", find, nth)


def insert_before(name: str, code: str, nth: int | None = None) -> Operator:
    """Put code before the statement that calls `name`."""

    def find(place: Place) -> Edit | None:
        return (lambda: place.put(*ast.parse(code).body, place.node)) if _calls(place.node, name) else None

    return Operator(f"insert_before({name!r}, {code!r})", find, nth)


def insert_first(code: str) -> Operator:
    """Begin the function with code, after its docstring."""

    def find(place: Place) -> Edit | None:
        node, function, added = place.node, place.parent, ast.parse(code).body
        is_function = isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        if not is_function or place.field != "body" or place.index != 0:
            return None
        described = ast.get_docstring(function) is not None
        return lambda: place.put(node, *added) if described else place.put(*added, node)

    return Operator(f"insert_first({code!r})", find)


def _calls(node: ast.AST, name: str) -> bool:
    """Tell whether a node is a simple statement in which `name` is called."""
    simple = isinstance(node, ast.stmt) and not hasattr(node, "body")
    return simple and any(_called(each) == name for each in ast.walk(node))


# ---- conditions ----


def condition(about: str, becomes: str, nth: int | None = None) -> Operator:
    """Replace the condition, about these words, of an `if`, a `while`, an `x if c else y` or a comprehension."""
    return Operator(f"condition({about!r}, {becomes!r})", _condition(about, becomes), nth)


def never(about: str, nth: int | None = None) -> Operator:
    """Have a condition about these words not hold, though it is worked out."""
    return Operator(f"never({about!r})", _condition(about, "{} and False"), nth)


def always(about: str, nth: int | None = None) -> Operator:
    """Have a condition about these words hold, though it is worked out."""
    return Operator(f"always({about!r})", _condition(about, "{} or True"), nth)


def _condition(about: str, becomes: str) -> Finder:
    def find(place: Place) -> Edit | None:
        is_test = place.field == "test" and not isinstance(place.parent, ast.Assert)
        is_condition = is_test or (place.field == "ifs" and isinstance(place.parent, ast.comprehension))
        node = place.node
        if not is_condition or not isinstance(node, ast.expr) or not _is_about(node, about):
            return None
        return lambda: place.put(_expression(becomes, node))

    return find


def drop_filter(about: str, nth: int | None = None) -> Operator:
    """Leave out the `if` of a comprehension."""

    def find(place: Place) -> Edit | None:
        is_filter = place.field == "ifs" and isinstance(place.parent, ast.comprehension)
        return place.put if is_filter and _is_about(place.node, about) else None

    return Operator(f"drop_filter({about!r})", find, nth)


def drop_operand(about: str, nth: int | None = None) -> Operator:
    """Leave out what is about these words from an `and` or an `or`."""

    def find(place: Place) -> Edit | None:
        if not isinstance(place.parent, ast.BoolOp) or not _is_about(place.node, about):
            return None
        operands = place.parent.values

        def drop() -> None:
            operands.remove(place.node)  # an operand of a BoolOp is an expression

        return drop

    return Operator(f"drop_operand({about!r})", find, nth)


def operand(about: str, becomes: str, nth: int | None = None) -> Operator:
    """Replace what is about these words in an `and` or an `or`."""

    def find(place: Place) -> Edit | None:
        node = place.node
        if not isinstance(place.parent, ast.BoolOp) or not isinstance(node, ast.expr) or not _is_about(node, about):
            return None
        return lambda: place.put(_expression(becomes, node))

    return Operator(f"operand({about!r}, {becomes!r})", find, nth)


COMPARISONS: dict[str, type[ast.cmpop]] = {"<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE}


def compare(about: str, old: str, new: str, nth: int | None = None) -> Operator:
    """Compare otherwise where a comparison is about these words, in both places of `a < b < c`."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case ast.Compare(ops=ops) as node if any(type(op) is COMPARISONS[old] for op in ops):
                changed = [COMPARISONS[new]() if type(op) is COMPARISONS[old] else op for op in ops]
                return (lambda: setattr(node, "ops", changed)) if _is_about(node, about) else None
            case _:
                return None

    return Operator(f"compare({about!r}, {old!r}, {new!r})", find, nth)


# ---- values ----


def returns(about: str, becomes: str, nth: int | None = None) -> Operator:
    """Return something else where what is returned is about these words, or is that constant."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case ast.Return(value=ast.expr() as value) as node:
                fits = ast.unparse(value) == about if isinstance(value, ast.Constant) else _is_about(value, about)
                return (lambda: setattr(node, "value", _expression(becomes, value))) if fits else None
            case _:
                return None

    return Operator(f"returns({about!r}, {becomes!r})", find, nth)


def assigned(target: str, becomes: str, nth: int | None = None) -> Operator:
    """Assign something else to a target."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case (ast.Assign() | ast.AnnAssign()) as node if node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                value = node.value
                named = target in map(_last, targets)
                return (lambda: setattr(node, "value", _expression(becomes, value))) if named else None
            case _:
                return None

    return Operator(f"assigned({target!r}, {becomes!r})", find, nth)


def read_as(name: str, becomes: str, nth: int | None = None) -> Operator:
    """Read a name or an attribute as something else."""

    def find(place: Place) -> Edit | None:
        match place.node:
            case (ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load())) as node if _last(node) == name:
                return lambda: place.put(_expression(becomes, node))
            case _:
                return None

    return Operator(f"read_as({name!r}, {becomes!r})", find, nth)


def call_becomes(name: str, becomes: str, nth: int | None = None) -> Operator:
    """Replace a call of `name`."""

    def find(place: Place) -> Edit | None:
        node = place.node
        if not isinstance(node, ast.Call) or _called(node) != name:
            return None
        return lambda: place.put(_expression(becomes, node))

    return Operator(f"call_becomes({name!r}, {becomes!r})", find, nth)


def argument(call: str, which: int | str, becomes: str | None, about: str = "", nth: int | None = None) -> Operator:
    """Replace an argument, by number or keyword, of a call that is about these words; None leaves it out."""

    def find(place: Place) -> Edit | None:
        node = place.node
        if not isinstance(node, ast.Call) or _called(node) != call or not _is_about(node, about):
            return None
        for each in places(node):
            is_it = (each.parent is node and (each.field == "args" and each.index == which)) or (
                isinstance(each.node, ast.keyword) and each.parent is node and each.node.arg == which
            )
            if is_it:
                return _argument_edit(each, becomes)
        return None

    extra = f", about={about!r}" if about else ""
    return Operator(f"argument({call!r}, {which!r}, {becomes!r}{extra})", find, nth)


def _argument_edit(place: Place, becomes: str | None) -> Edit:
    node = place.node
    if becomes is None:
        return place.put
    if isinstance(node, ast.keyword):
        return lambda: setattr(node, "value", _expression(becomes, node.value))
    assert isinstance(node, ast.expr)
    return lambda: place.put(_expression(becomes, node))
